"""NOTIFY and LISTEN: work is noticed in milliseconds; a poll each second is the net.

NOTIFY inside a transaction takes a lock that serialises commits, so it is sent after the commit, outside.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence

import psycopg
import structlog

from datadistiller.errors import Unavailable
from datadistiller.store.database import Database, link
from datadistiller.store.statements import Statements

WORK = "dd_work"  # payload: topic
JOBS = "dd_jobs"  # payload: job id
CHANGES = "dd_changes"  # no payload
CHANNELS = (WORK, JOBS, CHANGES)
#: Between two signals that are sent in the background, seconds.
SPACING = 0.02

_log = structlog.get_logger(__name__)


class Signals:
    """One LISTEN connection per process; it reconnects by itself.

    Only these channels are listened to: each signal wakes the process, and the database sends it to all that listen.
    """

    def __init__(self, url: str, channels: Sequence[str] = CHANNELS) -> None:
        self._url = url
        self._channels = channels
        self._task: asyncio.Task[None] | None = None
        self._waiters: dict[tuple[str, str | None], set[asyncio.Event]] = {}

    async def start(self) -> None:
        """Starts listening in the background."""
        self._task = asyncio.create_task(self._listen(), name="signals")

    async def close(self) -> None:
        """Stops listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @contextlib.contextmanager
    def subscribe(self, channel: str, payload: str | None = None) -> Iterator[asyncio.Event]:
        """An event that is set at each signal from now on; the caller clears it."""
        assert channel in self._channels, channel
        key = (channel, payload)
        event = asyncio.Event()
        self._waiters.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            self._waiters[key].discard(event)
            if not self._waiters[key]:
                del self._waiters[key]

    async def wait(self, channel: str, payload: str | None, timeout: float) -> bool:
        """Waits up to ``timeout`` seconds for a signal that comes after the call; False if none came."""
        with self.subscribe(channel, payload) as event:
            try:
                await asyncio.wait_for(event.wait(), timeout)
            except TimeoutError:
                return False
            return True

    async def _listen(self) -> None:
        pause = 0.1
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True, **link(self._url)) as conn:
                    for channel in self._channels:
                        await conn.execute(f"LISTEN {channel}")
                    pause = 0.1
                    # Signals sent while the connection was away are lost: everybody looks once.
                    self._wake_all()
                    async for note in conn.notifies():
                        self._wake(note.channel, note.payload)
            except psycopg.Error as error:
                _log.warning("signals_lost", error=type(error).__name__, retry_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 2)

    def _wake(self, channel: str, payload: str) -> None:
        for key in ((channel, payload), (channel, None)):
            for event in self._waiters.get(key, ()):
                event.set()

    def _wake_all(self) -> None:
        for events in self._waiters.values():
            for event in events:
                event.set()


class Notifier:
    """Sends signals, outside transactions. A lost signal costs a second, so failures are only logged.

    What piles up while one sending is under way is sent with the next, each different signal once.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("signals")
        self._pending: set[tuple[str, str]] = set()
        self._sending = asyncio.Lock()
        self._not_before = 0.0  # on the clock of the event loop
        self._later: asyncio.Task[None] | None = None

    async def notify(self, channel: str, payloads: str | Iterable[str] = "") -> None:
        """Sends one signal per different payload; none for no payloads at all. Sent when this returns."""
        await self.notify_all((channel, p) for p in ([payloads] if isinstance(payloads, str) else payloads))

    async def notify_all(self, signals: Iterable[tuple[str, str]]) -> None:
        """The same for signals of several channels, each with its payload."""
        self._pending |= set(signals)
        async with self._sending:
            if self._pending:
                batch, self._pending = sorted(self._pending), set()
                await self._send(batch)

    def soon(self, channel: str, payload: str = "") -> None:
        """Sends a signal in the background: the first at once, those after it no closer together than ``SPACING``.

        For what comes in floods: each signal costs a transaction, and wakes whoever listens.
        """
        self._pending.add((channel, payload))
        if self._later is None or self._later.done():
            self._later = asyncio.create_task(self._send_pending(), name="notifier")

    async def _send_pending(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._pending:
            await asyncio.sleep(self._not_before - clock())
            self._not_before = clock() + SPACING
            await self.notify_all(())

    async def _send(self, batch: Sequence[tuple[str, str]]) -> None:
        values = {"channels": [channel for channel, _ in batch], "payloads": [payload for _, payload in batch]}
        try:
            async with self._db.connection() as conn:
                await conn.execute(self._sql["notify"], values)
        except Unavailable as error:
            _log.warning("notify_failed", signals=len(batch), error=error.code)
