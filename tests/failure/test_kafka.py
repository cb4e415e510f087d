"""Kafka loses, repeats, stalls and dies; relay and workers are killed at any instruction: all work is done, once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from datadistiller import errors, pipeline
from datadistiller.messages import CHUNK_TOPIC, EVENTS_TOPIC, Delivery, Failed, Outcome
from datadistiller.queueing import Record
from datadistiller.queueing.kafka_client import Access
from datadistiller.queueing.kafka_publisher import KafkaPublisher
from datadistiller.runtime import telemetry
from datadistiller.runtime.relay import Relay
from datadistiller.store.database import Database
from datadistiller.store.messages import Messages
from datadistiller.store.outbox import Outbox
from datadistiller.store.signals import Signals
from tests import kafka_kit, seed, services
from tests.failure.test_runtime_workers import ROOT, Workers, started
from tests.kafka_kit import at_once, forms, reading, relaying, until, working
from tools.services.kafka import KafkaServer

# The statements are tried on every PostgreSQL elsewhere.
pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)

CHUNKS = 300


@pytest.fixture(scope="module")
def breakable() -> Iterator[KafkaServer]:
    """A broker that these tests may kill and wipe; they leave it running."""
    yield from services.for_session(KafkaServer)


@pytest.fixture
async def broker(breakable: KafkaServer) -> KafkaServer:
    await kafka_kit.fresh(breakable)
    return breakable


async def empty(database: Database) -> bool:
    return not await seed.messages_left(database)


async def fewer(database: Database, count: int) -> bool:
    return len(await seed.messages_left(database)) < count


async def gently(batch: Sequence[Delivery]) -> list[Outcome]:
    """A stage slow enough for something to happen meanwhile."""
    await asyncio.sleep(0.1)
    return await at_once(batch)


async def assert_done_once(database: Database, chunks: int, workers: Sequence[kafka_kit.Worked]) -> None:
    assert len(await seed.vectors(database)) == chunks
    assert sum(worked.count("done") for worked in workers) == chunks
    assert sum(worked.count("refused") for worked in workers) == 0


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Dying(KafkaPublisher):
    """A publisher whose process is killed at its n-th publication of a topic, before or after the broker has it."""

    def __init__(self, kafka: KafkaServer, topic: str, published: bool) -> None:
        super().__init__(Access(kafka.url))
        self._dies_at = topic
        self._first = published

    async def publish(self, records: Sequence[Record]) -> None:
        mine = bool(records) and records[0].topic == self._dies_at
        if not mine or self._first:
            await super().publish(records)
        if mine:
            raise Killed


async def killed_relay(kafka: KafkaServer, database: Database, topic: str, published: bool) -> None:
    """A relay that runs until it is killed around its first publication of that topic."""
    relay_signals, publisher = Signals(database.url), Dying(kafka, topic, published)
    await relay_signals.start()
    with suppress(Killed):
        await Relay(Outbox(database), publisher, relay_signals, telemetry.Metrics(), 32).run(asyncio.Event())
    await relay_signals.close()
    await publisher.close()


@pytest.mark.parametrize("published", [False, True], ids=["before", "after"])
async def test_the_relay_is_killed_between_marking_and_publishing(
    broker: KafkaServer, database: Database, published: bool
) -> None:
    await seed.chunked(database, CHUNKS)
    await killed_relay(broker, database, CHUNK_TOPIC, published)
    assert all(row["published_at"] for row in await seed.messages_left(database))
    async with working(broker, database) as worked, relaying(broker, database):
        await until(lambda: empty(database))
    await assert_done_once(database, CHUNKS, [worked])


@pytest.mark.parametrize("published", [False, True], ids=["before", "after"])
async def test_the_relay_is_killed_between_telling_and_recording_it(
    broker: KafkaServer, database: Database, published: bool
) -> None:
    async def cannot(batch: Sequence[Delivery]) -> list[Outcome]:
        return [Failed(delivery, errors.BrokenInvariant("no")) for delivery in batch]

    dead_topic = pipeline.stage("embed").dead_letter_topic
    job_id = await seed.chunked(database, 1)
    await killed_relay(broker, database, EVENTS_TOPIC, published)
    async with relaying(broker, database), working(broker, database, cannot):
        await until(lambda: empty(database))
    await killed_relay(broker, database, dead_topic, published)
    async with relaying(broker, database):
        with reading(broker, EVENTS_TOPIC, dead_topic) as reader:
            seen = await reader.read(lambda seen: {"failed", None} <= {form.get("event") for form in forms(seen)})
    told = [form["event"] for form in forms(seen) if form.get("event")]
    assert list(dict.fromkeys(told)) == ["accepted", "failed"]
    assert {form["job_id"] for form in forms(seen)} == {str(job_id)}
    assert told.count("accepted") >= (2 if published else 1)


async def test_the_broker_is_killed_and_comes_back(broker: KafkaServer, database: Database) -> None:
    await seed.chunked(database, CHUNKS)
    async with working(broker, database, gently) as worked, relaying(broker, database, window=2):
        await until(lambda: fewer(database, CHUNKS))
        await broker.kill()
        await seed.chunked(database, 50)
        await broker.start()
        await until(lambda: empty(database))
    await assert_done_once(database, CHUNKS + 50, [worked])


async def test_the_broker_s_disk_is_wiped_in_the_middle(broker: KafkaServer, database: Database) -> None:
    await seed.chunked(database, CHUNKS)
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(working(broker, database, gently)) for _ in range(2)]
        await stack.enter_async_context(relaying(broker, database, window=3))
        await until(lambda: fewer(database, CHUNKS))
        await broker.wipe()
        await seed.chunked(database, 50)
        await broker.start()
        await until(lambda: empty(database))
    await assert_done_once(database, CHUNKS + 50, workers)


async def test_a_topic_is_deleted_in_the_middle(broker: KafkaServer, database: Database) -> None:
    await seed.chunked(database, CHUNKS)
    async with working(broker, database, gently) as worked, relaying(broker, database, window=3):
        await until(lambda: fewer(database, CHUNKS))
        await broker.tool("kafka-topics", "--delete", "--topic", CHUNK_TOPIC)
        await until(lambda: empty(database))
        assert CHUNK_TOPIC in await broker.tool("kafka-topics", "--list")
    await assert_done_once(database, CHUNKS, [worked])


async def test_what_the_broker_lost_without_a_word_is_published_again(broker: KafkaServer, database: Database) -> None:
    await seed.chunked(database, 20)
    async with relaying(broker, database, again=1):
        with reading(broker, CHUNK_TOPIC) as reader:
            await reader.count(20)
        # Somebody reads for the group and throws it away.
        await broker.tool(
            "kafka-consumer-groups", "--reset-offsets", "--to-latest", "--execute",
            "--group", pipeline.stage("embed").group, "--topic", CHUNK_TOPIC,
        )  # fmt: skip
        async with working(broker, database) as worked:
            await until(lambda: empty(database))
    await assert_done_once(database, 20, [worked])


async def test_while_the_queue_brings_nothing_what_is_overdue_is_done(broker: KafkaServer, database: Database) -> None:
    await seed.chunked(database, 100)
    async with working(broker, database, overdue=1, net_seconds=0.5) as worked:  # and no relay at all
        await until(lambda: empty(database))
    await assert_done_once(database, 100, [worked])


async def test_a_storm_of_rebalances(broker: KafkaServer, database: Database) -> None:
    async def slowly(batch: Sequence[Delivery]) -> list[Outcome]:
        await asyncio.sleep(0.05 * len(batch))
        return await at_once(batch)

    await seed.chunked(database, CHUNKS)
    workers: list[kafka_kit.Worked] = []
    async with relaying(broker, database, window=1), working(broker, database, slowly) as steady:
        await until(lambda: fewer(database, CHUNKS))
        while not await empty(database):
            async with working(broker, database, slowly) as one, working(broker, database, slowly) as two:
                workers += [one, two]
                await asyncio.sleep(1.5)
    await assert_done_once(database, CHUNKS, [steady, *workers])


@pytest.fixture
def processes(database_url: str, tmp_path: Path) -> Iterator[Workers]:
    """Real worker processes."""
    with started(database_url, tmp_path) as held:
        yield held


@asynccontextmanager
async def reaping(database: Database, timeout_seconds: float) -> AsyncIterator[None]:
    async def reap() -> None:
        while True:
            await Messages(database).reap(timeout_seconds, {CHUNK_TOPIC: seed.LIMITS})
            await asyncio.sleep(0.2)

    task = asyncio.create_task(reap())
    yield
    task.cancel()


async def test_a_killed_worker_s_partitions_and_messages_go_to_others(
    broker: KafkaServer, database: Database, processes: Workers
) -> None:
    await seed.chunked(database, CHUNKS)
    async with relaying(broker, database), reaping(database, timeout_seconds=2):
        doomed = processes.start(1, queue_url=broker.url, heartbeat_seconds=0.2)
        await until(lambda: bool(processes.said()))
        processes.start(2, queue_url=broker.url, heartbeat_seconds=0.2)
        doomed.kill()
        processes.go()
        await until(lambda: empty(database))
    assert len(await seed.vectors(database)) == CHUNKS
    assert not [line for line in processes.said() if line.startswith("computed 1")]


async def test_a_worker_that_stood_still_for_too_long_goes_on(
    broker: KafkaServer, database: Database, processes: Workers
) -> None:
    await seed.chunked(database, CHUNKS)
    # Its heartbeat in the database would be believed for long; Kafka gives its partitions away.
    settings = {"queue_url": broker.url, "kafka_poll_seconds": 6, "heartbeat_seconds": 1, "worker_timeout_seconds": 6}
    async with relaying(broker, database, window=1):
        still = processes.start(1, **{**settings, "worker_timeout_seconds": 40})
        await until(lambda: bool(processes.said()))
        still.send_signal(signal.SIGSTOP)
        processes.go()
        processes.start(2, **settings)
        await until(lambda: fewer(database, 33))
        still.send_signal(signal.SIGCONT)
        await until(lambda: empty(database))
    assert still.poll() is None
    assert len(await seed.vectors(database)) == CHUNKS
    log = (processes.folder / "worker-1.log").read_text()
    assert "partitions_revoked" in log


async def test_a_relay_process_is_killed_again_and_again(
    broker: KafkaServer, database: Database, tmp_path: Path
) -> None:
    await seed.chunked(database, CHUNKS)
    env = {
        **os.environ, "PYTHONPATH": str(ROOT / "src"), "DATADISTILLER_DATABASE_URL": database.url,
        "DATADISTILLER_QUEUE_URL": broker.url, "DATADISTILLER_KAFKA_WINDOW": "1",
    }  # fmt: skip
    argv = [sys.executable, "-m", "datadistiller", "serve", "--roles", "relay"]
    async with working(broker, database, gently) as worked:
        for goal in (280, 200, 1):  # each is killed when it has done something, the last one when all is done
            with (tmp_path / "relay.log").open("ab") as log:
                relay = await asyncio.create_subprocess_exec(*argv, env=env, cwd=tmp_path, stdout=log, stderr=log)
            await until(lambda goal=goal: fewer(database, goal))
            relay.kill()
            await relay.wait()
    await assert_done_once(database, CHUNKS, [worked])
