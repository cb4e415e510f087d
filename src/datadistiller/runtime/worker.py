"""The one loop that runs every stage: begin messages, work on them, settle them. Nothing else begins or settles.

The heartbeat, the watch over vanished messages and the signals belong to the process: see ``heartbeat``,
``flights`` and ``process``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import structlog

from datadistiller import errors, pipeline, queueing
from datadistiller.messages import Delivery, Failed, Outcome
from datadistiller.runtime import telemetry
from datadistiller.runtime.flights import Flights
from datadistiller.runtime.settlement import Settlement, as_failure
from datadistiller.store.messages import Messages

POLL_SECONDS = 1.0
AWAY_SECONDS = 0.5  # between two looks while the database is away
#: A worker looks this often whether the database counts something as its own that it knows nothing of, seconds: the
#: answer to a begin was lost, or a fail-over to a copy that lagged brought back what was settled.
SURE_SECONDS = 10.0
#: Work is stopped when this share of its lease is over: the rest is for settling.
LEASE_SHARE = 0.9


class Stage(Protocol):
    """What a worker calls: one callable per stage."""

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """One outcome per delivery, in any order. Whatever it raises fails the whole batch."""
        ...


class Worker:
    """Runs one stage in one process, with ``spec.concurrency`` batches in flight.

    While the stage computes one batch, the next is begun and the last one settled. A message whose outcome is not
    settled keeps its lease and comes back by itself.
    """

    def __init__(
        self,
        spec: pipeline.StageSpec,
        source: queueing.Source,
        stage: Stage,
        settlement: Settlement,
        flights: Flights,
        messages: Messages,
        metrics: telemetry.Metrics,
        boot: UUID,
        drain_seconds: float,
    ) -> None:
        self.spec = spec
        self._source = source
        self._stage = stage
        self._settlement = settlement
        self._flights = flights
        self._messages = messages
        self._metrics = metrics
        self._boot = boot
        self._drain_seconds = drain_seconds
        self._taking = asyncio.Lock()
        self._sure_until = 0.0
        self._held: dict[UUID, Delivery] = {}  # by token: a message that is settled may be begun again at once
        self._left: dict[UUID, float] = {}  # tokens of what has no fate, until when

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop`` is set; then finishes what it holds, and gives back what it cannot finish in time."""
        halt = asyncio.Event()
        lanes = [
            asyncio.create_task(self._lane(halt), name=f"{self.spec.name}-{n}") for n in range(self.spec.concurrency)
        ]
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopped, *lanes}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            halt.set()
            await self._source.close()
            _, late = await asyncio.wait(lanes, timeout=self._drain_seconds)
            for lane in late:
                lane.cancel()
            ends = await asyncio.gather(*lanes, return_exceptions=True)
            await self._give_back(list(self._held.values()))
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _lane(self, halt: asyncio.Event) -> None:
        while not halt.is_set():
            batch = await self._take(halt)
            if batch and halt.is_set():
                await self._give_back(batch)
            elif batch:
                await self._carry(batch)

    async def _take(self, halt: asyncio.Event) -> Sequence[Delivery]:
        """Begins a batch. One lane at a time waits for work; the others wait for it."""
        async with self._taking:
            if halt.is_set():
                return ()
            try:
                if time.monotonic() >= self._sure_until:
                    await self._messages.abandon(self.spec.topic, self._boot, self._known())
                    self._sure_until = time.monotonic() + SURE_SECONDS
                batch = await self._source.take(self.spec.batch, POLL_SECONDS)
            except errors.Unavailable as error:
                self._sure_until = 0.0
                structlog.get_logger().warning("no_work_without_database", stage=self.spec.name, reason=error.message)
                await asyncio.sleep(AWAY_SECONDS)
                return ()
            self._held.update({delivery.token: delivery for delivery in batch})
            return batch

    def _known(self) -> list[UUID]:
        """The leases that this process knows of: what it works on, and what it leaves to the end of its lease."""
        now = time.monotonic()
        self._left = {token: until for token, until in self._left.items() if until > now}
        return [*self._held, *self._left]

    async def _carry(self, batch: Sequence[Delivery]) -> None:
        """Carries a batch to its fate."""
        fields = {"stage": self.spec.name}
        if len(batch) == 1:
            fields |= {"job_id": str(batch[0].job_id), "message_id": str(batch[0].message_id)}
        with structlog.contextvars.bound_contextvars(**fields):
            outcomes = await self._work(batch)
            left = await self._settlement.settle(outcomes)
        # They must cost a crash in the end: freed now, they would come again without end.
        self._left.update({delivery.token: time.monotonic() + self.spec.seconds for delivery in left})
        self._forget(batch)

    async def _work(self, batch: Sequence[Delivery]) -> Sequence[Outcome]:
        """What the stage makes of the batch; nothing if it was stopped because its messages are gone."""
        task = asyncio.ensure_future(self._stage(batch))
        seconds = self.spec.seconds * LEASE_SHARE
        try:
            with self._metrics.stage_seconds.labels(self.spec.name).time(), self._flights.working(task, batch):
                async with asyncio.timeout(seconds) as limit:
                    return self._complete(batch, await task)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise  # the worker itself is to end
            self._metrics.attempts.labels(self.spec.name, "cancelled").inc(len(batch))
            return ()
        except TimeoutError as error:
            if not limit.expired():
                return self._all_failed(batch, error)
            late = f"The {self.spec.name} stage did not finish within {seconds:.0f} seconds."
            return self._all_failed(batch, errors.TransientError(late))
        except Exception as error:
            return self._all_failed(batch, error)

    def _complete(self, batch: Sequence[Delivery], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Holds the stage to its contract: exactly one outcome per delivery, and each error of a class with a fate."""
        missing = errors.BrokenInvariant(f"The {self.spec.name} stage gave no outcome for a message.")
        fates: dict[int, Outcome] = {delivery.message_id: Failed(delivery, missing) for delivery in batch}
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                outcome = Failed(outcome.delivery, as_failure(outcome.error, self.spec.name))
            fates[outcome.delivery.message_id] = outcome
        return [fates[delivery.message_id] for delivery in batch]

    def _all_failed(self, batch: Sequence[Delivery], error: Exception) -> list[Outcome]:
        failure = as_failure(error, self.spec.name)
        return [Failed(delivery, failure) for delivery in batch]

    async def _give_back(self, batch: Sequence[Delivery]) -> None:
        """Releases messages uncharged; if the database is away they are freed when this worker is gone."""
        if not batch:
            return
        structlog.get_logger().info("given_back", stage=self.spec.name, messages=len(batch))
        try:
            await self._messages.release(batch)
        except errors.Unavailable as error:
            structlog.get_logger().warning("not_given_back", stage=self.spec.name, reason=error.message)
        self._forget(batch)

    def _forget(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            self._held.pop(delivery.token, None)
