"""How the search index stands, for people and orchestrators: it may be in this process or in a cluster.

In a cluster the follower is another process. It tells how it stands in a row of the database, once a second.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import structlog

from datadistiller import errors
from datadistiller.indexing import SearchIndex
from datadistiller.runtime.follower import Follower
from datadistiller.store import signals
from datadistiller.store.changes import START, Changes
from datadistiller.store.followers import FollowerRow, Followers
from datadistiller.store.signals import Notifier

REPORT_SECONDS = 1.0
CATCHING_UP = "The search index is catching up with the database."

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IndexState:
    """How the index stands."""

    ready: bool  # it holds every chunk that was ever acknowledged
    serving: bool  # questions can be answered
    entries: int  # chunks in it
    lag: int  # chunks known to have changed that it does not show yet
    lag_seconds: float  # since when there are such chunks
    error: str | None  # why it cannot be searched, or does not follow at the moment
    hint: str  # what to do about the error


class IndexStatus(Protocol):
    """What the API knows of the index."""

    async def state(self) -> IndexState:
        """How it stands now; that it cannot be found out is a state too, never an exception."""
        ...

    async def request_rebuild(self) -> None:
        """Has it built anew from the database; searches go on meanwhile. Raises ``errors.Unavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class InsideStatus:
    """The index and its follower are in this process."""

    index: SearchIndex
    follower: Follower

    async def state(self) -> IndexState:
        """What the follower says."""
        state = self.follower.state
        return IndexState(
            ready=state.ready,
            serving=state.ready and state.error is None,
            entries=await self.index.count(),
            lag=state.lag,
            lag_seconds=state.lag_seconds,
            error=state.error,
            hint="Jobs wait in 'embedding' until the follower runs again; see the API's log.",
        )

    async def request_rebuild(self) -> None:
        """Begins with the next round of the follower."""
        self.follower.request_rebuild()


@dataclass(frozen=True, slots=True)
class OutsideStatus:
    """The index is in a cluster, and an index worker follows for it."""

    index: SearchIndex
    followers: Followers
    changes: Changes
    notifier: Notifier
    patience_seconds: float  # an index worker that says nothing for longer does not follow

    async def state(self) -> IndexState:
        """The cluster is asked whether it can be searched, the database how far it is behind."""
        (entries, trouble), (lag, seconds, idle) = await asyncio.gather(self._searched(), self._followed())
        worst = trouble or idle
        return IndexState(
            ready=trouble is None,
            serving=trouble is None,
            entries=entries,
            lag=lag,
            lag_seconds=seconds,
            error=worst.message if worst else None,
            hint=worst.hint if worst else "",
        )

    async def request_rebuild(self) -> None:
        """Leaves it for whoever follows, now or next."""
        await self.followers.ask()
        await self.notifier.notify(signals.CHANGES)

    async def _searched(self) -> tuple[int, errors.DataDistillerError | None]:
        try:
            return await self.index.count(), None
        except errors.DataDistillerError as error:
            return 0, error

    async def _followed(self) -> tuple[int, float, errors.DataDistillerError | None]:
        try:
            row = await self.followers.state()
            return *await self.changes.lag(row.position or START), self._idle(row)
        except errors.Unavailable as error:
            return 0, 0.0, error

    def _idle(self, row: FollowerRow) -> errors.Unavailable | None:
        """Why nobody follows; None if somebody does."""
        if row.silent_seconds is None or row.silent_seconds > self.patience_seconds:
            who = f"'{row.worker_id}' was heard of last" if row.worker_id else "none ever was"
            return errors.Unavailable(
                f"No index worker is alive ({who}): jobs wait in 'embedding', and what is indexed is found.",
                hint="Start one: datadistiller serve --roles index.",
            )
        if row.error:
            hint = f"Jobs wait in 'embedding' until it goes on; see the log of '{row.worker_id}'."
            return errors.Unavailable(row.error, hint=hint)
        return None


@dataclass(slots=True)
class Reporter:
    """Tells how the follower of this process stands while it leads, and hands it the requests of others.

    While it waits to take over it sees to it that a leader that is frozen, or cut off, does not keep the lock.
    """

    follower: Follower
    followers: Followers
    worker_id: str
    patience_seconds: float
    _given: int = 0  # the newest request the follower was given
    _silent: bool = False

    async def run(self, stop: asyncio.Event) -> None:
        """Reports until ``stop`` is set."""
        while not stop.is_set():
            try:
                await self.report()
                self._silent = False
            except errors.Unavailable as error:
                if not self._silent:
                    log.warning("index_not_reported", reason=error.message)
                self._silent = True
            try:
                await asyncio.wait_for(stop.wait(), REPORT_SECONDS)
            except TimeoutError:
                continue

    async def report(self) -> None:
        """One report."""
        state = self.follower.state
        if not state.leading:
            if await self.followers.depose(self.patience_seconds):
                log.warning("index_leader_deposed", silent_seconds=self.patience_seconds)
            return
        done = 0 if state.rebuilding else self._given
        requests = await self.followers.report(self.worker_id, state.position, state.error, done)
        if requests.asked > max(requests.rebuilt, self._given):
            self._given = requests.asked
            self.follower.request_rebuild()
