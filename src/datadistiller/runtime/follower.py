"""The one follower of a database: brings what changed into the search index, then acknowledges it.

Only the acknowledgement makes chunks ``indexed`` and jobs ``completed``, and it comes after the index's commit: a
completed document is found by every later query. The index may be lost or differ in any way when the follower
starts, and after any error: it is compared with the live chunks as a whole, which is cheap, before changes are
followed again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog

from datadistiller import errors
from datadistiller.indexing import Entry, SearchIndex
from datadistiller.runtime.waiting import wait
from datadistiller.store import signals
from datadistiller.store.changes import Changes
from datadistiller.store.locks import Lock
from datadistiller.store.signals import Notifier, Signals

#: Chunks read from the database at once, and chunks between two commits: they bound the memory.
READ_CHUNKS = 512
COMMIT_CHUNKS = 2048
#: The feed is looked at this often even if nobody signals, seconds.
POLL_SECONDS = 1.0
#: Commits may take this share of the time: each costs some 20 ms of CPU however little it holds, so a steady stream is
#: better off with fewer of them, and so is a busy disk. No rarer than one a second; the first after a rest is at once.
COMMIT_SHARE = 0.04
MAX_COMMIT_SECONDS = 1.0
#: Pauses after errors, seconds.
FIRST_PAUSE, MAX_PAUSE = 0.2, 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FollowerState:
    """How the index stands."""

    ready: bool  # it has held every live chunk at least once since the start
    entries: int  # chunks in it
    lag: int  # chunks known to have changed that it does not show yet
    lag_seconds: float  # since when there are such chunks
    last_commit_age: float | None  # seconds; None before the first commit
    error: str | None  # why it does not follow at the moment


class Follower:
    """Follows until told to stop; whatever happens it says so in ``state`` and tries again."""

    def __init__(
        self,
        changes: Changes,
        index: SearchIndex,
        signals: Signals,
        notifier: Notifier,
        model_id: int,
        commit_ms: float,
    ) -> None:
        self._changes = changes
        self._index = index
        self._signals = signals
        self._notifier = notifier
        self._model_id = model_id
        self._commit_seconds = commit_ms / 1000
        self._rebuild = False
        self._ready = False
        self._lag = 0
        self._behind_since: float | None = None
        self._committed_at: float | None = None
        self._next_commit = 0.0
        self._error: str | None = None

    @property
    def state(self) -> FollowerState:
        """How the index stands now."""
        now = time.monotonic()
        return FollowerState(
            ready=self._ready,
            entries=self._index.entries,
            lag=self._lag,
            lag_seconds=0.0 if self._behind_since is None else now - self._behind_since,
            last_commit_age=None if self._committed_at is None else now - self._committed_at,
            error=self._error,
        )

    def request_rebuild(self) -> None:
        """Has every live chunk read again and replaced in the index; meanwhile searches find what they found before."""
        self._rebuild = True

    async def run(self, stop: asyncio.Event) -> None:
        """Follows until ``stop`` is set."""
        pause = FIRST_PAUSE
        while not stop.is_set():
            try:
                async with self._changes.lock() as lock:
                    if not lock.held:
                        raise errors.Unavailable("Another process follows this database for its own search index.")
                    await self._follow(lock, stop)
            except Exception as error:
                pause = FIRST_PAUSE if self._error is None else min(MAX_PAUSE, 2 * pause)
                self._record(error)
            await wait(random.uniform(pause / 2, pause), stop)

    async def _follow(self, lock: Lock, stop: asyncio.Event) -> None:
        with self._signals.subscribe(signals.CHANGES) as changed:
            position = await self._reconcile(stop)
            while not stop.is_set():
                self._error = None
                await wait(POLL_SECONDS, changed, stop)
                # What comes until the next commit is due is committed with it.
                await wait(self._next_commit - time.monotonic(), stop)
                changed.clear()
                await lock.check()
                position = await (self._reconcile(stop) if self._rebuild else self._catch_up(position, stop))

    async def _reconcile(self, stop: asyncio.Event) -> str:
        """Makes the index hold the live chunks and no others; returns the position to follow from."""
        live = await self._changes.live(self._model_id)
        have = await self._index.contents()
        rebuild = self._rebuild
        extra = [number for number in have if number not in live.chunks]
        missing = [
            number
            for number, chunk_id in live.chunks.items()
            if rebuild or number in live.pending or have.get(number) != chunk_id
        ]
        log.info("index_compared", live=len(live.chunks), missing=len(missing), extra=len(extra), rebuild=rebuild)
        del have
        self._behind(len(missing) + len(extra))
        for numbers in _groups(extra, COMMIT_CHUNKS):
            await self._commit([], numbers)
        await self._bring(missing, stop)
        if stop.is_set():
            return live.position
        await self._changes.trim(live.position)
        self._ready = True
        self._rebuild = self._rebuild and not rebuild
        return live.position

    async def _catch_up(self, position: str, stop: asyncio.Event) -> str:
        """Applies what changed since the position; returns the next one."""
        numbers, position = await self._changes.since(position)
        if numbers:
            self._behind(len(numbers))
            await self._bring(numbers, stop)
            await self._changes.trim(position)
        else:
            await self._index.commit()  # an idle moment, which the index may use to tidy up
        return position

    async def _bring(self, numbers: Sequence[int], stop: asyncio.Event) -> None:
        """Puts the present state of these chunks into the index and acknowledges it, in bounded groups."""
        for group in _groups(numbers, COMMIT_CHUNKS):
            if stop.is_set():
                return
            entries: list[Entry] = []
            gone: list[int] = []
            for page in _groups(group, READ_CHUNKS):
                found, missing = await self._changes.read(page, self._model_id)
                entries += found
                gone += missing
            await self._commit(entries, gone)
            jobs = await self._changes.acknowledge([entry.chunk_no for entry in entries])
            await self._notifier.notify(signals.JOBS, [str(job) for job in jobs])
        self._behind(0)

    async def _commit(self, entries: Sequence[Entry], gone: Sequence[int]) -> None:
        """Stages only once everything is read: nothing half-done is left in the index by an error."""
        await self._index.add(entries)
        await self._index.remove(gone)
        began = time.monotonic()
        await self._index.commit()
        self._committed_at = time.monotonic()
        pace = min(MAX_COMMIT_SECONDS, (self._committed_at - began) / COMMIT_SHARE)
        self._next_commit = began + max(self._commit_seconds, pace)
        self._behind(max(0, self._lag - len(entries) - len(gone)))

    def _behind(self, lag: int) -> None:
        self._lag = lag
        if not lag:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = time.monotonic()

    def _record(self, error: Exception) -> None:
        """Keeps the reason for people; logs it when it is new."""
        known = isinstance(error, errors.DataDistillerError)
        reason = str(error) if known else f"The index follower met an unexpected {type(error).__name__}."
        if reason != self._error:
            log.warning("index_follower_stopped", reason=reason, exc_info=None if known else error)
        self._error = reason


def _groups(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (numbers[at : at + size] for at in range(0, len(numbers), size))
