"""The one follower of a database: brings what changed into the search index, then acknowledges it.

Only the acknowledgement makes chunks ``indexed`` and jobs ``completed``, and it comes after the index's commit: a
completed document is found by every later query. The index may be lost or differ in any way when the follower takes
the lead, and after any error: it is compared with the live chunks as a whole, which is cheap. With a large index it
takes long all the same, so what is left of the feed is applied first, and what is added to it meanwhile in between.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from datadistiller import errors
from datadistiller.indexing import Entry, IndexWriter
from datadistiller.runtime.waiting import wait
from datadistiller.store import signals
from datadistiller.store.changes import START, Changes, between_pages
from datadistiller.store.locks import Lock
from datadistiller.store.signals import Notifier, Signals

#: Chunks compared at once, read from the database at once, and between two commits: they bound the memory.
COMPARE_CHUNKS = 100_000
READ_CHUNKS = 512
COMMIT_CHUNKS = 2048
#: The feed is looked at this often even if nobody signals, seconds.
POLL_SECONDS = 1.0
#: Commits may take this share of the time: each costs some 20 ms of CPU however little it holds, so a steady stream is
#: better off with fewer of them, and so is a busy disk. No rarer than one a second; the first after a rest is at once.
COMMIT_SHARE = 0.04
MAX_COMMIT_SECONDS = 1.0
#: If nothing was signalled for so long, perhaps nothing is on its way to the index that is worth waiting for, seconds.
LULL_SECONDS = 0.05
#: Pauses after errors, seconds.
FIRST_PAUSE, MAX_PAUSE = 0.2, 2.0

#: How differences are mended.
Mend = Callable[[Sequence[int], asyncio.Event], Awaitable[None]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FollowerState:
    """How the index stands."""

    leading: bool  # this is the one follower of the database, as far as it knows
    ready: bool  # the index has held every live chunk at least once since the start
    rebuilding: bool  # a rebuild was asked for and is not done
    position: str  # in the change feed; empty before the first
    lag: int  # chunks known to have changed that it does not show yet
    lag_seconds: float  # since when there are such chunks
    last_commit_age: float | None  # seconds; None before the first commit
    error: str | None  # why it does not follow at the moment


class Follower:
    """Follows until told to stop; whatever happens it says so in ``state`` and tries again."""

    def __init__(
        self,
        changes: Changes,
        index: IndexWriter,
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
        self._leading = False
        self._rebuild = False
        self._searched = False  # searches use the index: what is committed may be acknowledged
        self._ready = False
        self._position = ""
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
            leading=self._leading,
            ready=self._ready,
            rebuilding=self._rebuild,
            position=self._position,
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
                    self._leading = lock.held
                    if not lock.held:
                        raise errors.Unavailable("Another process follows this database; this one waits to take over.")
                    await self._follow(lock, stop)
            except Exception as error:
                pause = FIRST_PAUSE if self._error is None else min(MAX_PAUSE, 2 * pause)
                self._record(error)
            await wait(random.uniform(pause / 2, pause), stop)

    async def _follow(self, lock: Lock, stop: asyncio.Event) -> None:
        with self._signals.subscribe(signals.CHANGES) as changed:
            self._searched = await self._index.lead()
            self._position = START
            await self._reconcile(lock, stop)
            while not stop.is_set():
                self._error = None
                await wait(POLL_SECONDS, changed, stop)
                await self._gather(changed, stop)
                changed.clear()
                await lock.check()
                if self._rebuild:
                    await self._reconcile(lock, stop)
                elif not await self._catch_up(stop):
                    await self._index.commit()  # an idle moment, which the index may use to look after itself

    async def _gather(self, changed: asyncio.Event, stop: asyncio.Event) -> None:
        """Until the next commit is due: what comes meanwhile is committed with it. No longer if nothing is to come."""
        while (left := self._next_commit - time.monotonic()) > 0 and not stop.is_set():
            changed.clear()
            await wait(min(left, LULL_SECONDS), changed, stop)
            if not changed.is_set() and not await self._changes.more_to_come():
                return

    async def _reconcile(self, lock: Lock, stop: asyncio.Event) -> None:
        """Makes the index hold the live chunks and no others; builds it anew if asked for, or if there is none."""
        asked = self._rebuild
        if self._searched:
            await self._compare(lock, stop, self._bring)
        if asked or not self._searched:
            await self._index.begin_rebuild()
            await self._compare(lock, stop, self._build)
            if stop.is_set():
                return
            await self._index.end_rebuild()
            self._searched = True
            await self._compare(lock, stop, self._bring)
        if not stop.is_set():
            self._ready = True
            self._rebuild = self._rebuild and not asked

    async def _compare(self, lock: Lock, stop: asyncio.Event, mend: Mend) -> None:
        """Compares index and database part by part, and has the differences mended."""
        first: int | None = 0
        while first is not None and not stop.is_set():
            await lock.check()
            await self._catch_up_with_now(stop)
            numbers, first = await self._differences(first)
            log.info("index_compared", different=len(numbers), building=mend == self._build, next_part=first)
            self._behind(len(numbers))
            await mend(numbers, stop)

    async def _differences(self, first: int) -> tuple[list[int], int | None]:
        """The chunks, from a number on, that are not in the index as they should be or should not be in it; and where
        the next part begins, None if this was the last."""
        live = await self._changes.live(self._model_id, first, COMPARE_CHUNKS)
        have = await self._index.contents(first, COMPARE_CHUNKS)
        ends = [max(part) for part in (live.chunks, have) if len(part) == COMPARE_CHUNKS]
        last = min(ends, default=None)
        numbers = [
            number
            for number in live.chunks.keys() | have.keys()
            if number in live.pending or live.chunks.get(number) != have.get(number)
        ]
        if last is None:
            return sorted(numbers), None
        return sorted(number for number in numbers if number <= last), last + 1

    async def _catch_up_with_now(self, stop: asyncio.Event) -> None:
        """Applies all that has changed until now, and not what is added meanwhile: that could go on for ever."""
        more = self._searched
        while more and not stop.is_set():
            more = await self._catch_up(stop) and between_pages(self._position)

    async def _catch_up(self, stop: asyncio.Event) -> bool:
        """Applies what changed since the position, and moves it on; False if there was nothing."""
        numbers, position = await self._changes.since(self._position)
        if numbers:
            self._behind(len(numbers))
            await self._bring(numbers, stop)
        if stop.is_set():
            return True
        self._position = position
        if numbers:
            await self._changes.trim(position)
        return bool(numbers)

    async def _bring(self, numbers: Sequence[int], stop: asyncio.Event) -> None:
        """Puts the present state of these chunks into the index and acknowledges it, in bounded groups."""
        for group in _groups(numbers, COMMIT_CHUNKS):
            if stop.is_set():
                return
            entries = await self._stage(group)
            began = time.monotonic()
            await self._done(self._index.commit, stop)
            self._committed(began)
            self._behind(max(0, self._lag - len(group)))
            jobs = await self._changes.acknowledge([entry.chunk_no for entry in entries])
            await self._notifier.notify(signals.JOBS, [str(job) for job in jobs])
        self._behind(0)

    async def _build(self, numbers: Sequence[int], stop: asyncio.Event) -> None:
        """Puts the present state of these chunks into the index that is being built."""
        for group in _groups(numbers, COMMIT_CHUNKS):
            if stop.is_set():
                return
            await self._stage(group)
            await self._done(self._index.build, stop)
            self._behind(max(0, self._lag - len(group)))
        self._behind(0)

    async def _stage(self, numbers: Sequence[int]) -> list[Entry]:
        """Stages only once everything is read: nothing half-done is left in the index by an error."""
        entries: list[Entry] = []
        gone: list[int] = []
        for page in _groups(numbers, READ_CHUNKS):
            found, missing = await self._changes.read(page, self._model_id)
            entries += found
            gone += missing
        await self._index.add(entries)
        await self._index.remove(gone)
        return entries

    async def _done(self, write: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        """Writes what is staged; an index that has no room for it now is asked again and again."""
        pause = FIRST_PAUSE
        while True:
            try:
                await write()
                break
            except errors.CapacityError as error:
                if stop.is_set():
                    raise
                self._record(error)
            await wait(random.uniform(pause / 2, pause), stop)
            pause = min(MAX_PAUSE, 2 * pause)
        self._error = None

    def _committed(self, began: float) -> None:
        self._committed_at = time.monotonic()
        pace = min(MAX_COMMIT_SECONDS, (self._committed_at - began) / COMMIT_SHARE)
        self._next_commit = began + max(self._commit_seconds, pace)

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
