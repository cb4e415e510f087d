"""What keeps the system clean: frees the messages of dead workers, sweeps orphaned objects, drops old records.

Several may run at once: rows are locked by one of them at a time, and removing what is gone succeeds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog

from datadistiller import errors, objects
from datadistiller.store import signals
from datadistiller.store.inspection import Inspection
from datadistiller.store.messages import Limits, Messages

REAP_SECONDS = 1.0
SWEEP_SECONDS = 300.0  # at most; with a short grace more often
MAINTENANCE_SECONDS = 600.0
#: Keys compared with the database in one question.
SWEEP_BATCH = 500
#: Orphans remembered from one sweep to the next; what is beyond that waits its turn.
SUSPECTS = 10_000


class Reaper:
    """Frees messages whose worker is gone, silent, or past its lease."""

    def __init__(
        self, messages: Messages, notifier: signals.Notifier, limits: Mapping[str, Limits], timeout_seconds: float
    ) -> None:
        self._messages = messages
        self._notifier = notifier
        self._limits = limits
        self._timeout = timeout_seconds

    async def reap(self) -> None:
        """Looks once; tells the workers if there is work again."""
        freed = await self._messages.reap(self._timeout, self._limits)
        if freed:
            structlog.get_logger().warning("messages_freed", messages=freed)
            await self._notifier.notify(signals.WORK, self._limits)


class Sweeper:
    """Removes objects that no document refers to: what uploads that were never answered left behind.

    Objects younger than ``grace_seconds`` are left alone: their job may be about to be committed. So are those seen
    for the first time: S3 dates an object by the begin of its upload, and a slow one may be old when it is complete.
    Uploads that a store does not list until they are complete get ``unfinished_seconds``.
    """

    def __init__(
        self,
        store: objects.ObjectStore,
        inspection: Inspection,
        grace_seconds: float,
        unfinished_seconds: float,
    ) -> None:
        self._store = store
        self._inspection = inspection
        self._grace = timedelta(seconds=grace_seconds)
        self._unfinished = timedelta(seconds=unfinished_seconds)
        self._suspects: frozenset[str] = frozenset()

    @property
    def period(self) -> float:
        """Seconds between two sweeps."""
        return min(SWEEP_SECONDS, self._grace.total_seconds() / 3)

    async def sweep(self) -> None:
        """Removes what versions of documents left behind, then goes through the whole object store once."""
        swept = await self._sweep_retired()
        seen: set[str] = set()
        async for keys in self._old_keys():
            known = await self._inspection.object_keys_known(keys)
            for key in keys:
                if key in known:
                    continue
                if key in self._suspects:
                    await self._store.delete(key)
                    swept += 1
                elif len(seen) < SUSPECTS:
                    seen.add(key)
        self._suspects = frozenset(seen)
        aborted = await self._store.abort_unfinished(datetime.now(UTC) - self._unfinished)
        if swept or aborted:
            structlog.get_logger().info("objects_swept", objects=swept, unfinished_uploads=aborted)

    async def _sweep_retired(self) -> int:
        """Removes files that versions of documents left behind; how many. Nobody reads them: no grace is needed."""
        swept = 0
        while keys := await self._inspection.retired_objects(SWEEP_BATCH):
            for key in keys:
                await self._store.delete(key)
            await self._inspection.forget_retired(keys)
            swept += len(keys)
        return swept

    async def _old_keys(self) -> AsyncIterator[list[str]]:
        limit = datetime.now(UTC) - self._grace
        batch: list[str] = []
        async for found in self._store.list(objects.UPLOADS):
            if found.modified < limit:
                batch.append(found.key)
            if len(batch) >= SWEEP_BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


async def repeat(name: str, seconds: float, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Does the work every ``seconds`` until ``stop`` is set. An error is logged and the next turn comes as usual."""
    while not stop.is_set():
        begun = time.monotonic()
        try:
            await work()
        except errors.DataDistillerError as error:
            structlog.get_logger().warning("background_work_failed", work=name, reason=error.message)
        except Exception as error:
            # A loop that ends unnoticed would let the system fill up silently.
            structlog.get_logger().error("background_work_failed", work=name, exc_info=error)
        try:
            await asyncio.wait_for(stop.wait(), max(0.0, seconds - (time.monotonic() - begun)))
        except TimeoutError:
            continue
