"""What the tests on Kafka build on: a broker without yesterday's topics, and a foreign client that reads along."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from datadistiller import pipeline
from datadistiller.queueing.kafka import KafkaSource
from datadistiller.queueing.kafka_client import Access
from datadistiller.queueing.kafka_publisher import KafkaPublisher
from datadistiller.runtime import telemetry
from datadistiller.runtime.relay import Relay
from datadistiller.store.database import Database
from datadistiller.store.messages import Messages
from datadistiller.store.outbox import Outbox
from datadistiller.store.signals import Signals
from tools.services.kafka import KafkaServer

TOPICS = [topic.name for topic in pipeline.topics()]


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 60) -> None:
    """Waits for something that happens elsewhere."""
    end = time.monotonic() + seconds
    while True:
        result = holds()
        if result is True or (not isinstance(result, bool) and await result):
            return
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


async def fresh(kafka: KafkaServer) -> None:
    """Removes the topics and groups that an earlier test left: message ids begin at 1 in each database."""
    await asyncio.to_thread(_forget, AdminClient({"bootstrap.servers": kafka.bootstrap}))


def _forget(admin: AdminClient) -> None:
    groups = [spec.group for spec in pipeline.PIPELINE]
    gone = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND}
    end = time.monotonic() + 60
    # A broker that has just started does not yet know everything it is asked.
    while _codes(admin.delete_consumer_groups(groups)) | _codes(admin.delete_topics(TOPICS)) != gone:
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
    kafka: KafkaServer, database: Database, stage: str = "embed", boot: uuid.UUID | None = None, **options: Any
) -> KafkaSource:
    """A source of a stage's topic as it is wired."""
    spec, messages, owner = pipeline.stage(stage), Messages(database), boot or uuid.uuid4()
    return KafkaSource(
        Access(kafka.url),
        spec.topic,
        spec.group,
        lambda ids, limit: messages.begin(spec.topic, ids, limit, owner, spec.seconds),
        KafkaPublisher(Access(kafka.url)),
        spec.dead_letter_topic,
        **options,
    )


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


def write(kafka: KafkaServer, topic: str, *values: bytes | None, partition: int | None = None) -> None:
    """What a foreign producer writes into a topic."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for value in values:
        producer.produce(topic, value, **({} if partition is None else {"partition": partition}))
    assert producer.flush(30) == 0


def forms(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """What records hold, as JSON."""
    return [json.loads(message.value() or b"null") for message in messages]
