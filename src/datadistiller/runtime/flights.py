"""What this process holds right now, and the watch that stops work whose message is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import structlog

from datadistiller import errors
from datadistiller.messages import Delivery
from datadistiller.store.messages import Messages

WATCH_SECONDS = 1.0


class Flights:
    """The batches of all workers of this process that a stage is working on.

    Cancelling or deleting a document removes its messages, whoever holds them. A batch that has lost all of its
    messages is stopped within about a second; one that lost some goes on, and settling refuses those.
    """

    def __init__(self, messages: Messages, boot: UUID) -> None:
        self._messages = messages
        self._boot = boot
        self._working: dict[asyncio.Task[object], frozenset[int]] = {}

    @contextmanager
    def working(self, task: asyncio.Task[object], batch: Sequence[Delivery]) -> Iterator[None]:
        """While entered, ``task`` is cancelled once if all messages of ``batch`` are gone."""
        self._working[task] = frozenset(delivery.message_id for delivery in batch)
        try:
            yield
        finally:
            self._working.pop(task, None)

    async def watch(self) -> None:
        """Looks each second, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            # Taken before the question, so that whatever it holds was begun before the answer.
            working = dict(self._working)
            if not working:
                continue
            try:
                held = await self._messages.held(self._boot, sorted(frozenset().union(*working.values())))
            except errors.Unavailable:
                continue  # not known; settling will decide
            for task, ids in working.items():
                if held.isdisjoint(ids) and task in self._working:
                    self._stop(task, ids)

    def _stop(self, task: asyncio.Task[object], ids: frozenset[int]) -> None:
        structlog.get_logger().info("work_stopped", message_ids=sorted(ids)[:10], reason="its messages are gone")
        del self._working[task]
        task.cancel()
