"""The way to Kafka: its topics and what is written to them. Blocking calls run in threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from confluent_kafka import (
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from datadistiller import errors
from datadistiller.queueing import Record, Topic
from datadistiller.queueing.kafka_client import PATIENCE, Access, Troubles, opening

T = TypeVar("T")

#: A record that the broker has not acknowledged after this long was not published, seconds.
PUBLISH_SECONDS = 5.0
CHECK_SECONDS = 2.5
THREADS = 2
_SEGMENTS = 4  # per retention: only whole segments are deleted


class KafkaPublisher:
    """Implements ``queueing.Publisher``.

    An idempotent producer keeps order and writes nothing twice by itself. After any failure a new one is made: one
    whose broker lost its memory never recovers.
    """

    def __init__(self, access: Access, replication: int = 0) -> None:
        self._replication = replication or -1  # -1: the broker's default
        self._troubles = Troubles(access)
        self._config = access.config(self._troubles)
        self._admin: AdminClient | None = None
        self._producer: Producer | None = None
        self._publishing = asyncio.Lock()
        # Threads of its own: while the broker is away they wait, and nobody else shall.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kafka-publisher")
        self._closed = False

    async def prepare(self, topics: Sequence[Topic]) -> Sequence[str]:
        """Several may do this at once: each topic is created by one of them."""
        return await self._call(self._prepare, topics)

    async def publish(self, records: Sequence[Record]) -> None:
        """One call at a time is under way."""
        async with self._publishing:
            await self._call(self._publish, records)

    async def written(self, topic: str) -> int:
        """Counted from offsets: gaps in them count too."""
        return await self._call(self._written, topic)

    async def differences(self, topics: Sequence[Topic]) -> Sequence[str]:
        """Partitions (more are fine), retention and clean-up."""
        return await self._call(self._differences, topics)

    async def check(self) -> None:
        """Asks for the cluster, not for its topics: there may be thousands."""
        await self._call(self._check)

    async def close(self) -> None:
        """What was published is acknowledged, so nothing is waited for."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._producer = self._admin = None

    async def _call(self, work: Callable[..., T], *arguments: object) -> T:
        if self._closed:
            raise errors.Unavailable("The connection to Kafka is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._translated, work, arguments)

    def _translated(self, work: Callable[..., T], arguments: Sequence[object]) -> T:
        with self._troubles.translated():
            try:
                result = work(*arguments)
            except KafkaException:
                self._listen(0.1)
                raise
        self._listen(0)
        self._troubles.forget()
        return result

    def _listen(self, seconds: float) -> None:
        """Lets the clients tell by callback what no exception says, and what has piled up."""
        for client in (self._admin, self._producer):
            if client is not None:
                client.poll(seconds)

    def _check(self) -> None:
        _result(self._administration().describe_cluster(request_timeout=CHECK_SECONDS))

    def _prepare(self, topics: Sequence[Topic]) -> list[str]:
        missing = self._missing(topics)
        if not missing:
            return []
        wanted = [
            NewTopic(topic.name, topic.partitions, self._replication, config=_settings(topic)) for topic in missing
        ]
        for future in self._administration().create_topics(wanted, request_timeout=PATIENCE).values():
            try:
                _result(future)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.INVALID_REPLICATION_FACTOR:
                    raise errors.SetupError(
                        f"Kafka cannot keep {self._replication} copies of a topic: it has fewer brokers.",
                        hint="Lower DATADISTILLER_KAFKA_REPLICATION, or add brokers.",
                    ) from None
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
        self._await(topics)
        return [topic.name for topic in missing]

    def _await(self, topics: Sequence[Topic]) -> None:
        """Every broker is told of a new topic a moment after it was made."""
        limit = time.monotonic() + PATIENCE
        while self._missing(topics):
            if time.monotonic() > limit:
                raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
            time.sleep(0.05)

    def _missing(self, topics: Sequence[Topic]) -> list[Topic]:
        found = self._described(topic.name for topic in topics)
        return [topic for topic in topics if topic.name not in found]

    def _publish(self, records: Sequence[Record]) -> None:
        try:
            self._send(self._production(), records)
        except KafkaException:
            self._producer = None
            raise

    def _send(self, producer: Producer, records: Sequence[Record]) -> None:
        ends: list[KafkaError | None] = []
        for record in records:
            while not self._enqueued(producer, record, lambda error, _message: ends.append(error)):
                producer.poll(0.1)
        limit = time.monotonic() + PUBLISH_SECONDS + 2
        while len(ends) < len(records) and time.monotonic() < limit:
            producer.poll(0.1)
        failed = [error for error in ends if error is not None]
        if failed or len(ends) < len(records):
            producer.purge()
            producer.poll(0)
            raise KafkaException(failed[0] if failed else KafkaError(KafkaError._TIMED_OUT))

    def _enqueued(self, producer: Producer, record: Record, done: Callable[[KafkaError | None, Any], None]) -> bool:
        """False if the producer's queue is full: first some of it must be acknowledged."""
        headers: list[tuple[str, str | bytes | None]] = list(record.headers.items())
        try:
            producer.produce(record.topic, record.value, record.key, headers=headers, on_delivery=done)
        except BufferError:
            return False
        return True

    def _written(self, topic: str) -> int:
        # How far a group has read would be worth knowing too; but asking for that aborts the process if the broker
        # goes at that moment (librdkafka's issue 3663).
        wanted = {TopicPartition(topic, n): OffsetSpec.latest() for n in range(self._described([topic]).get(topic, 0))}
        if not wanted:
            return 0
        asked = self._administration().list_offsets(wanted, request_timeout=PATIENCE)
        return sum(_result(future).offset for future in asked.values())

    def _differences(self, topics: Sequence[Topic]) -> list[str]:
        found = self._described([topic.name for topic in topics])
        missing = [f"The topic {topic.name} is missing." for topic in topics if topic.name not in found]
        few = [
            f"The topic {topic.name} has {found[topic.name]} partitions; {topic.partitions} are meant."
            for topic in topics
            if found.get(topic.name, topic.partitions) < topic.partitions
        ]
        there = [topic for topic in topics if topic.name in found]
        resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in there]
        other = []
        if resources:
            asked = self._administration().describe_configs(resources, request_timeout=PATIENCE)
            for topic, future in zip(there, asked.values(), strict=True):
                entries = _result(future)
                for name, value in _settings(topic).items():
                    if entries[name].value != value:
                        other.append(f"The topic {topic.name} has {name}={entries[name].value}; {value} is meant.")
        return [*missing, *few, *other]

    def _described(self, names: Iterable[str]) -> dict[str, int]:
        """Partitions by topic, of those that are there. Unlike asking for metadata this creates none."""
        found = {}
        asked = self._administration().describe_topics(TopicCollection(list(names)), request_timeout=PATIENCE)
        for name, future in asked.items():
            try:
                found[name] = len(_result(future).partitions)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
        return found

    def _administration(self) -> AdminClient:
        if self._admin is None:
            with opening():
                self._admin = AdminClient(self._config)
        return self._admin

    def _production(self) -> Producer:
        if self._producer is None:
            with opening():
                self._producer = Producer(
                    {
                        **self._config,
                        "enable.idempotence": True,
                        "acks": "all",
                        "linger.ms": 2,
                        "message.timeout.ms": int(PUBLISH_SECONDS * 1000),
                        # Records without a key go anywhere, each for itself.
                        "sticky.partitioning.linger.ms": 0,
                    }
                )
        return self._producer


def _result(future: Future[Any]) -> Any:
    try:
        return future.result(PATIENCE + 1)
    except TimeoutError:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from None


def _settings(topic: Topic) -> dict[str, str]:
    milliseconds = int(topic.retention_hours * 3_600_000)
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(milliseconds),
        "segment.ms": str(milliseconds // _SEGMENTS),
    }
