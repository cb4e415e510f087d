"""A member of a consumer group in a thread of its own, which never stops polling.

Kafka gives the partitions of a member that is silent to others, however hard it works. Records wait in a buffer;
while that is full the partitions pause.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from datadistiller.queueing.kafka_buffer import Buffer, received
from datadistiller.queueing.kafka_client import Access, Troubles, opening

POLL_SECONDS = 0.1
COMMIT_SECONDS = 0.25  # offsets are acknowledged this often; what is lost with a process is received again
FETCH = 500  # records taken at once
#: A record that is none of ours is kept up to here: it may be anything.
KEPT_BYTES = 65_536
RESTART_SECONDS = 1.0
#: After its last sign of life the partitions of a dead process go to others: the least that brokers allow by default.
SESSION_SECONDS = 6.0
#: A member that got no partitions joins anew after so long, and then ever more rarely: they may have been shared when
#: the topic did not exist, and librdkafka may compare what it sees later with what it saw before that.
EMPTY_SECONDS, LONGEST_EMPTY_SECONDS = 5.0, 300.0
HEARTBEAT_MS = 500  # a member learns by it that the others want to share anew, and they wait for it

log = structlog.get_logger(__name__)


class Receiver:
    """Receives the records of one topic into ``buffer``, and acknowledges what was settled there.

    ``poll_seconds`` after its last poll the partitions of a process that stands still go to others. Above ``buffered``
    records the partitions pause.
    """

    def __init__(self, access: Access, topic: str, group: str, *, poll_seconds: float, buffered: int) -> None:
        self.buffer = Buffer()
        self._topic = topic
        self._buffered = buffered
        self._troubles = Troubles(access, topic)
        self._config = {
            **access.config(self._troubles),
            **_membership(group, poll_seconds),
            "on_commit": self._committed,
        }
        self._paused = False
        self._reassigned = False
        self._committed_at = 0.0
        self._empty_until = math.inf  # how long to be content without partitions
        self._patience = EMPTY_SECONDS
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._tell: Callable[[], object] = bool

    def start(self, tell: Callable[[], object]) -> bool:
        """Joins the group; False if it has, or was stopped. ``tell`` is called from the thread when records arrive."""
        if self._thread is not None or self._closing.is_set():
            return False
        self._tell = tell
        thread = threading.Thread(target=self._run, name=f"kafka-{self._topic}", daemon=True)
        thread.start()
        self._thread = thread  # not before: ``stop``, in another thread, can only wait for one that runs
        return True

    def stop(self, seconds: float) -> bool:
        """Leaves the group, so that others get the partitions at once; False if that took too long. Blocks."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()

    def _run(self) -> None:
        """Polls until the end. A consumer that cannot go on, or is left without partitions, is replaced."""
        while not self._closing.is_set():
            try:
                self._consume()
            except Exception as error:
                # Without this thread no message would arrive any more, and nobody would know.
                log.error("queue_consumer_failed", topic=self._topic, exc_info=error)
                self._closing.wait(RESTART_SECONDS)

    def _consume(self) -> None:
        with opening():
            consumer = Consumer(self._config)
        try:
            consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
            self._empty_until = math.inf
            while not self._closing.is_set() and time.monotonic() < self._empty_until:
                message = consumer.poll(POLL_SECONDS)
                if message is not None:
                    self._receive([message, *consumer.consume(FETCH, 0)])
                self._throttle(consumer)
                if time.monotonic() - self._committed_at > COMMIT_SECONDS:
                    self._commit(consumer)
        finally:
            consumer.close()
            self.buffer.drop()

    def _receive(self, found: Sequence[Message]) -> None:
        records = []
        for message in found:
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is not None and error.fatal():
                raise KafkaException(error)
            if error is not None:
                self._troubles.log(error)
            elif partition is not None and offset is not None:
                records.append(received(partition, offset, message.value(), KEPT_BYTES))
        if records:
            self._troubles.forget()
            self.buffer.add(records)
            if not self._closing.is_set():
                self._tell()

    def _throttle(self, consumer: Consumer) -> None:
        """Pauses all partitions when too much waits here, and resumes them when half of it is gone."""
        full = len(self.buffer) >= (self._buffered // 2 if self._paused else self._buffered)
        if full and (not self._paused or self._reassigned):
            consumer.pause(consumer.assignment())
        elif self._paused and not full:
            consumer.resume(consumer.assignment())
        self._paused, self._reassigned = full, False

    def _commit(self, consumer: Consumer, wait: bool = False) -> None:
        self._committed_at = time.monotonic()
        offsets = [TopicPartition(self._topic, *place) for place in self.buffer.acknowledged().items()]
        if not offsets:
            return
        try:
            if wait:
                consumer.commit(offsets=offsets, asynchronous=False)
            else:
                consumer.commit(offsets=offsets)
        except KafkaException as error:
            self._committed(error.args[0], offsets)

    def _committed(self, error: KafkaError | None, offsets: Sequence[TopicPartition]) -> None:
        if error is not None:
            # Tried again while the partitions are ours: as long as the group is being shared anew, the broker refuses
            # what it takes a moment later. Whoever gets them instead receives these records again, and is refused.
            log.info("offsets_not_committed", topic=self._topic, reason=error.name())
            self.buffer.not_acknowledged(offset.partition for offset in offsets)

    def _assigned(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._reassigned = True  # if the others pause, the new ones do not
        self._troubles.forget()
        self.buffer.own(p.partition for p in partitions)
        if self.buffer.owns():
            self._empty_until, self._patience = math.inf, EMPTY_SECONDS
        else:
            self._empty_until = time.monotonic() + self._patience
            self._patience = min(LONGEST_EMPTY_SECONDS, 2 * self._patience)
        log.info("partitions_assigned", topic=self._topic, partitions=sorted(p.partition for p in partitions))

    def _revoked(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._commit(consumer, wait=True)
        self._lost(consumer, partitions)

    def _lost(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.buffer.drop(p.partition for p in partitions)
        log.info("partitions_revoked", topic=self._topic, partitions=sorted(p.partition for p in partitions))


def _membership(group: str, poll_seconds: float) -> dict[str, Any]:
    session = int(SESSION_SECONDS * 1000)
    return {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session,
        "heartbeat.interval.ms": HEARTBEAT_MS,
        "max.poll.interval.ms": max(session, int(poll_seconds * 1000)),
        "queued.min.messages": 1000,
        "queued.max.messages.kbytes": 4096,
    }
