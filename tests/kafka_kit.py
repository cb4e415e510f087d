"""What the tests on Kafka build on: a broker without yesterday's topics, and a foreign client that reads along."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from datadistiller import pipeline
from datadistiller.messages import Delivery, Done, Embedded, Outcome
from datadistiller.queueing.kafka import KafkaSource
from datadistiller.queueing.kafka_client import Access
from datadistiller.queueing.kafka_publisher import KafkaPublisher
from datadistiller.runtime import telemetry
from datadistiller.runtime.flights import Flights
from datadistiller.runtime.relay import Relay
from datadistiller.runtime.settlement import Settlement
from datadistiller.runtime.worker import Worker
from datadistiller.store.database import Database
from datadistiller.store.messages import Messages
from datadistiller.store.models import Models
from datadistiller.store.outbox import Outbox
from datadistiller.store.signals import Notifier, Signals
from datadistiller.store.workers import Workers
from tests import seed
from tools.services.kafka import KafkaServer

TOPICS = [topic.name for topic in pipeline.topics()]


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 180) -> None:
    """Waits for something that happens elsewhere."""
    end = time.monotonic() + seconds
    while True:
        result = holds()
        if result is True or (not isinstance(result, bool) and await result):
            return
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


async def fresh(kafka: KafkaServer) -> None:
    """Removes the topics that an earlier test left, and with them how far they were read: message ids begin at 1 in
    each database."""
    await asyncio.to_thread(_forget, AdminClient({"bootstrap.servers": kafka.bootstrap}))


def _forget(admin: AdminClient) -> None:
    end = time.monotonic() + 60
    # The controller knows at once that they are gone, the broker that answers a moment later.
    while _codes(admin.delete_topics(TOPICS)) != {KafkaError.UNKNOWN_TOPIC_OR_PART} or not set(TOPICS).isdisjoint(
        admin.list_topics(timeout=30).topics
    ):
        assert time.monotonic() < end, "the topics are still there"
        time.sleep(0.05)


def _codes(futures: dict[str, Any]) -> set[int]:
    """The error codes of all answers; 0 for success."""
    found = set()
    for future in futures.values():
        try:
            future.result(30)
            found.add(0)
        except KafkaException as error:
            found.add(error.args[0].code())
    return found


@asynccontextmanager
async def relaying(kafka: KafkaServer, database: Database, window: int = 32, again: float = 30) -> AsyncIterator[Relay]:
    """A relay in this process."""
    signals = Signals(database.url)
    publisher = KafkaPublisher(Access(kafka.url))
    relay = Relay(Outbox(database), publisher, signals, telemetry.Metrics(), window, again)
    stop = asyncio.Event()
    await signals.start()
    running = asyncio.create_task(relay.run(stop))
    try:
        yield relay
    finally:
        stop.set()
        await running
        await publisher.close()
        await signals.close()


def source(
    kafka: KafkaServer,
    database: Database,
    stage: str = "embed",
    boot: uuid.UUID | None = None,
    overdue: float = 60,
    **options: Any,
) -> KafkaSource:
    """A source of a stage's topic as it is wired; messages are overdue after that many seconds."""
    spec, messages, owner = pipeline.stage(stage), Messages(database), boot or uuid.uuid4()
    return KafkaSource(
        Access(kafka.url),
        spec.topic,
        spec.group,
        lambda ids, limit: messages.begin(spec.topic, ids, limit, owner, spec.seconds),
        lambda: messages.overdue(spec.topic, overdue, spec.batch),
        KafkaPublisher(Access(kafka.url)),
        spec.dead_letter_topic,
        **options,
    )


DIM = 4
Stage = Callable[[Sequence[Delivery]], Awaitable[Sequence[Outcome]]]


async def at_once(batch: Sequence[Delivery]) -> list[Outcome]:
    """A stage that costs nothing."""
    return [Done(delivery, Embedded(np.ones(DIM, np.float16))) for delivery in batch]


@dataclass
class Worked:
    """What a worker of a test did."""

    metrics: telemetry.Metrics
    source: KafkaSource

    def count(self, outcome: str) -> int:
        labels = {"stage": "embed", "outcome": outcome}
        return int(self.metrics.registry().get_sample_value("datadistiller_attempts_total", labels) or 0)


@asynccontextmanager
async def working(
    kafka: KafkaServer, database: Database, stage: Stage = at_once, **options: Any
) -> AsyncIterator[Worked]:
    """An embedding worker in this process, with a stage of the test's."""
    spec, messages, boot = pipeline.stage("embed"), Messages(database), uuid.uuid4()
    await Workers(database).register(boot, "test", "embed", 1)
    model_id = await Models(database).activate("test-model", DIM)
    worked = Worked(telemetry.Metrics(), source(kafka, database, boot=boot, **options))
    flights, notifier = Flights(messages, boot), Notifier(database)
    settlement = Settlement(spec, seed.LIMITS, model_id, messages, notifier, worked.metrics, lambda: True)
    worker = Worker(spec, worked.source, stage, settlement, flights, messages, worked.metrics, boot, 10)
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    try:
        yield worked
    finally:
        stop.set()
        await running
        await Workers(database).remove(boot)


class Reader:
    """A consumer that knows nothing of us: plain, in a group of its own, from the beginning."""

    def __init__(self, kafka: KafkaServer, *topics: str) -> None:
        self.seen: list[Message] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "group.id": f"reader-{uuid.uuid4()}",
                "auto.offset.reset": "earliest",
                "topic.metadata.refresh.interval.ms": 500,
            }
        )
        self._consumer.subscribe(list(topics))

    def close(self) -> None:
        self._consumer.close()

    def known(self, topic: str) -> int:
        """How many records a topic has."""
        partitions = self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ends = [self._consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=30) for p in partitions]
        return sum(high - low for low, high in ends)

    async def read(self, enough: Callable[[Sequence[Message]], bool], seconds: float = 60) -> Sequence[Message]:
        """Reads on until that is enough; returns all it ever read."""
        end = time.monotonic() + seconds
        while not enough(self.seen):
            assert time.monotonic() < end, f"read {len(self.seen)} records only"
            found = await asyncio.to_thread(self._consumer.poll, 0.2)
            if found is not None and found.error() is None:
                self.seen.append(found)
        return self.seen

    async def count(self, number: int) -> Sequence[Message]:
        """Reads so many records at least."""
        return await self.read(lambda seen: len(seen) >= number)


@contextmanager
def reading(kafka: KafkaServer, *topics: str) -> Iterator[Reader]:
    """A foreign consumer."""
    reader = Reader(kafka, *topics)
    try:
        yield reader
    finally:
        reader.close()


def pass_by(kafka: KafkaServer, topic: str, group: str, seconds: float) -> None:
    """A member of a group that takes its share of the partitions, acknowledges nothing, and leaves."""
    options = {"group.id": group, "partition.assignment.strategy": "cooperative-sticky", "enable.auto.commit": False}
    member = Consumer({"bootstrap.servers": kafka.bootstrap, "session.timeout.ms": 6000, **options})
    member.subscribe([topic])
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        member.poll(0.1)
    member.close()


def write(kafka: KafkaServer, topic: str, *values: bytes | None, partition: int | None = None) -> None:
    """What a foreign producer writes into a topic."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for value in values:
        producer.produce(topic, value, **({} if partition is None else {"partition": partition}))
    assert producer.flush(30) == 0


def forms(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """What records hold, as JSON."""
    return [json.loads(message.value() or b"null") for message in messages]
