"""The embedded queue: workers claim rows of the table ``messages``, each second and whenever signalled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager

from datadistiller.messages import Delivery


class PostgresSource:
    """Implements ``queueing.Source`` for one topic.

    ``claim(limit)`` begins due messages. ``listen()`` gives an event that is set whenever there may be more; it is
    entered before claiming, so that a signal between a vain claim and the wait is not missed.
    """

    def __init__(
        self,
        claim: Callable[[int], Awaitable[Sequence[Delivery]]],
        listen: Callable[[], AbstractContextManager[asyncio.Event]],
    ) -> None:
        self._claim = claim
        self._listen = listen
        self._closed = asyncio.Event()

    async def take(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Claims; if nothing is due, waits for a signal or ``wait_seconds`` and claims once more."""
        if self._closed.is_set():
            return ()
        with self._listen() as signalled:
            found = await self._claim(limit)
            if found:
                return found
            if not await self._wait(signalled, wait_seconds):
                return ()
        return await self._claim(limit)

    async def close(self) -> None:
        """Ends a wait at once."""
        self._closed.set()

    async def _wait(self, signalled: asyncio.Event, seconds: float) -> bool:
        """True if it is worth looking again; False if the time is over or the source was closed."""
        waits = {asyncio.create_task(signalled.wait()), asyncio.create_task(self._closed.wait())}
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return signalled.is_set() and not self._closed.is_set()
