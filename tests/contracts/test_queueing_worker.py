"""The worker on a real database: whatever a stage does, each message meets exactly one fate."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import numpy as np
import pytest

from datadistiller import errors, pipeline
from datadistiller.messages import CHUNK_TOPIC, Delivery, Done, Embedded, Failed, Outcome
from datadistiller.queueing.postgres import PostgresSource
from datadistiller.runtime import telemetry, worker
from datadistiller.runtime.flights import Flights
from datadistiller.runtime.settlement import Settlement
from datadistiller.runtime.worker import Worker
from datadistiller.store.database import Database
from datadistiller.store.jobs import Jobs
from datadistiller.store.messages import Messages
from datadistiller.store.models import Models
from datadistiller.store.signals import WORK, Notifier, Signals
from datadistiller.store.workers import Workers
from tests import seed

DIM = 4
Stage = Callable[[Sequence[Delivery]], Awaitable[Sequence[Outcome]]]


def done(delivery: Delivery) -> Done:
    return Done(delivery, Embedded(np.ones(DIM, np.float16)))


async def well(batch: Sequence[Delivery]) -> list[Outcome]:
    return [done(delivery) for delivery in batch]


class Bench:
    """Runs a worker in this process."""

    def __init__(self, database: Database, signals: Signals, model_id: int) -> None:
        self.database = database
        self.messages = Messages(database)
        self.metrics = telemetry.Metrics()
        self.boot = uuid.uuid4()
        self.alive = True
        self._signals = signals
        self._model_id = model_id

    @asynccontextmanager
    async def working(self, stage: Stage, **changes: object) -> AsyncIterator[None]:
        spec = dataclasses.replace(pipeline.stage("embed"), tries=2, **changes)  # type: ignore[arg-type]
        await Workers(self.database).register(self.boot, "test", "embed", 1)
        flights = Flights(self.messages, self.boot)
        source = PostgresSource(
            lambda limit: self.messages.claim(spec.topic, limit, self.boot, spec.seconds),
            partial(self._signals.subscribe, WORK, spec.topic),
        )
        settlement = Settlement(
            spec, seed.LIMITS, self._model_id, self.messages, Notifier(self.database), self.metrics, lambda: self.alive
        )
        runner = Worker(spec, source, stage, settlement, flights, self.messages, self.metrics, self.boot, 5)
        stop = asyncio.Event()
        watch = asyncio.create_task(flights.watch())
        running = asyncio.create_task(runner.run(stop))
        try:
            yield
        finally:
            stop.set()
            await running
            watch.cancel()

    async def until_empty(self) -> None:
        await until(lambda: self._empty())

    async def _empty(self) -> bool:
        return not await seed.messages_left(self.database)

    def count(self, outcome: str) -> float:
        value = self.metrics.registry().get_sample_value(
            "datadistiller_attempts_total", {"stage": "embed", "outcome": outcome}
        )
        return value or 0.0

    async def letters(self) -> list[dict[str, object]]:
        async with self.database.connection() as conn:
            return await (await conn.execute("SELECT * FROM dead_letters ORDER BY dead_id")).fetchall()


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 -- it is true in the database, which tells nobody
            await asyncio.sleep(0.02)


@pytest.fixture
async def bench(database: Database, database_url: str) -> AsyncIterator[Bench]:
    signals = Signals(database_url)
    await signals.start()
    yield Bench(database, signals, await Models(database).activate("test", DIM))
    await signals.close()


async def test_done_is_recorded_and_counted(bench: Bench) -> None:
    await seed.chunked(bench.database, 40)
    async with bench.working(well):
        await bench.until_empty()
    assert await seed.vectors(bench.database) == [np.ones(DIM, np.float16).tobytes()] * 40
    assert bench.count("done") == 40


async def test_the_next_batch_is_begun_while_one_is_worked_on(bench: Bench) -> None:
    begun: list[int] = []
    both = asyncio.Event()

    async def meets(batch: Sequence[Delivery]) -> list[Outcome]:
        begun.append(len(batch))
        if len(begun) == 2:
            both.set()
        await both.wait()
        return await well(batch)

    await seed.chunked(bench.database, 4)
    async with bench.working(meets, batch=2, concurrency=2):
        await bench.until_empty()
    assert begun == [2, 2]


async def test_what_a_stage_raises_fails_its_whole_batch_once_more(bench: Bench) -> None:
    seen: list[int] = []

    async def fails_at_first(batch: Sequence[Delivery]) -> list[Outcome]:
        seen.extend(delivery.tries for delivery in batch)
        if not batch[0].tries:
            raise ValueError("secret text of a document")
        return await well(batch)

    await seed.chunked(bench.database, 2)
    async with bench.working(fails_at_first):
        await bench.until_empty()
    assert seen.count(0) == 2 and seen.count(1) == 2
    assert (bench.count("transient"), bench.count("done")) == (2, 2)


async def test_an_unknown_error_ends_as_a_dead_letter_without_the_text(bench: Bench) -> None:
    async def always_fails(batch: Sequence[Delivery]) -> list[Outcome]:
        raise ValueError("secret text of a document")

    job_id = await seed.chunked(bench.database, 1)
    async with bench.working(always_fails):
        await bench.until_empty()
    [letter] = await bench.letters()
    assert "ValueError" in str(letter["error_type"]) and "always_fails" in str(letter["frames"])
    assert letter["tries"] == seed.LIMITS.tries
    assert "secret" not in str(letter)
    assert (await Jobs(bench.database).get(job_id)).status == "failed"


async def test_a_permanent_error_is_not_tried_again(bench: Bench) -> None:
    async def cannot(batch: Sequence[Delivery]) -> list[Outcome]:
        return [Failed(batch[0], errors.BrokenInvariant("no"))]

    await seed.chunked(bench.database, 1)
    async with bench.working(cannot):
        await bench.until_empty()
    assert bench.count("permanent") == 1


async def test_what_a_worker_settled_and_a_fail_over_brought_back_is_done_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SURE_SECONDS", 0.1)  # the first look, before the first begin, is not meant
    await seed.chunked(bench.database, 2)
    [forgotten] = await bench.messages.claim(CHUNK_TOPIC, 1, uuid.uuid4(), 300)

    async def once() -> bool:
        return bench.count("done") == 1

    async with bench.working(well):
        await until(once)
        async with bench.database.connection() as conn:
            await conn.execute("UPDATE messages SET lease_boot = %s WHERE id = %s", (bench.boot, forgotten.message_id))
        await bench.until_empty()
    assert bench.count("done") == 2


async def test_what_comes_again_before_its_settlement_was_told_of_stays_with_who_has_it_now(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SURE_SECONDS", 0.05)
    begun: list[Sequence[Delivery]] = []

    async def slowly(*_: object) -> None:
        await asyncio.sleep(1)

    async def full_at_first(batch: Sequence[Delivery]) -> list[Outcome]:
        begun.append(batch)
        if len(begun) == 1:
            raise errors.CapacityError("full", retry_after=0.1)
        await asyncio.sleep(5)
        return await well(batch)

    monkeypatch.setattr(Notifier, "notify_all", slowly)
    await seed.chunked(bench.database, 1)
    async with bench.working(full_at_first):
        await bench.until_empty()
    assert len(begun) == 2 and bench.count("cancelled") == 0 and bench.count("done") == 1


async def test_what_can_never_be_settled_is_left_to_the_end_of_its_lease(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given back at once it would be worked on again and again, and never cost a crash."""
    monkeypatch.setattr(worker, "SURE_SECONDS", 0.05)
    begun: list[Sequence[Delivery]] = []

    async def refused(*_: object) -> None:
        raise errors.BrokenInvariant("The database refuses it.")

    async def seen(batch: Sequence[Delivery]) -> list[Outcome]:
        begun.append(batch)
        return await well(batch)

    await seed.chunked(bench.database, 1)
    monkeypatch.setattr(Messages, "settle", refused)
    async with bench.working(seen):
        await asyncio.sleep(3)  # thirty looks
    assert len(begun) == 1
    assert [row["lease_boot"] for row in await seed.messages_left(bench.database)] == [bench.boot]


@pytest.mark.parametrize("error", [errors.Unavailable("down", retry_after=60), OSError(28, "No space left on device")])
async def test_a_lack_of_capacity_parks_without_charge(bench: Bench, error: Exception) -> None:
    async def full(batch: Sequence[Delivery]) -> list[Outcome]:
        raise error

    await seed.chunked(bench.database, 1)

    async def parked() -> bool:
        return bench.count("capacity") == 1

    async with bench.working(full):
        await until(parked)
    [message] = await seed.messages_left(bench.database)
    assert (message["tries"], message["crashes"], message["lease_token"]) == (0, 0, None)
    assert message["parked_since"] is not None


async def test_a_stage_that_forgets_a_message_is_found_out(bench: Bench) -> None:
    async def forgets(batch: Sequence[Delivery]) -> list[Outcome]:
        return [done(delivery) for delivery in batch[1:]]

    await seed.chunked(bench.database, 3)
    async with bench.working(forgets):
        await bench.until_empty()
    assert (bench.count("done"), bench.count("permanent")) == (2, 1)


async def test_a_stage_that_takes_too_long_is_stopped(bench: Bench) -> None:
    async def hangs(batch: Sequence[Delivery]) -> list[Outcome]:
        if not batch[0].tries:
            await asyncio.sleep(60)
        return await well(batch)

    await seed.chunked(bench.database, 1)
    async with bench.working(hangs, seconds=0.5):
        await bench.until_empty()
    assert (bench.count("transient"), bench.count("done")) == (1, 1)


async def test_a_result_that_cannot_be_stored_harms_no_other(bench: Bench) -> None:
    async def one_is_bad(batch: Sequence[Delivery]) -> list[Outcome]:
        good = [done(delivery) for delivery in batch]
        bad = Done(batch[0], None)  # type: ignore[arg-type]  # a defect that only settling finds
        return [bad, *good[1:]] if len(batch) > 1 else good

    class Explodes(Exception):
        """Raised while settling."""

    await seed.chunked(bench.database, 3)
    settle = bench.messages.settle

    async def refuses(limits: object, outcomes: Sequence[Outcome], model_id: int | None = None) -> object:
        # The store itself refuses no result of a real embedder; this stands for a defect in ours.
        if any(isinstance(o, Done) and o.result is None for o in outcomes):
            raise Explodes
        return await settle(seed.LIMITS, outcomes, model_id)

    bench.messages.settle = refuses  # type: ignore[method-assign,assignment]
    async with bench.working(one_is_bad):
        await bench.until_empty()
    assert bench.count("done") == 3
    assert bench.count("transient") == 1


async def test_a_lost_lease_is_dropped_and_comes_back(bench: Bench) -> None:
    async def lost(batch: Sequence[Delivery]) -> list[Outcome]:
        return [Failed(batch[0], errors.LeaseLost()), *map(done, batch[1:])]

    await seed.chunked(bench.database, 2)

    async def settled() -> bool:
        return bench.count("done") == 1

    async with bench.working(lost):
        await until(settled)
        [message] = await seed.messages_left(bench.database)
        assert message["lease_token"] is not None
    assert bench.count("lost") == 1


async def test_without_a_heartbeat_nothing_is_settled(bench: Bench) -> None:
    async def heart_stops(batch: Sequence[Delivery]) -> list[Outcome]:
        bench.alive = False
        return await well(batch)

    await seed.chunked(bench.database, 2)

    async def lost() -> bool:
        return bench.count("lost") == 2

    async with bench.working(heart_stops):
        await until(lost)
        assert len(await seed.messages_left(bench.database)) == 2
        assert not await seed.vectors(bench.database)


async def test_a_claim_whose_answer_was_lost_is_found_again(bench: Bench) -> None:
    await seed.chunked(bench.database, 2)
    claim = bench.messages.claim

    async def answer_lost(*args: object) -> list[Delivery]:
        # The connection breaks between COMMIT and its answer, once.
        bench.messages.claim = claim  # type: ignore[method-assign]
        assert len(await claim(*args)) == 2  # type: ignore[arg-type]
        raise errors.Unavailable

    bench.messages.claim = answer_lost  # type: ignore[method-assign,assignment]
    async with bench.working(well):
        await bench.until_empty()
    assert bench.count("done") == 2
    assert await Messages(bench.database).reap(60, {CHUNK_TOPIC: seed.LIMITS}) == 0
