"""The queue on Kafka: ids arrive in a thread that never stops polling, and are begun in the database.

Once a begin is committed its offset is: from then on PostgreSQL brings the message back if need be. What Kafka
delivers twice, late, in any order or not at all does no harm, for only the database knows what is due. Whoever has
received nothing for a while asks it for what is overdue: a broker, a relay or a client that stands still without an
error slows work down and never stops it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

import structlog

from datadistiller import errors
from datadistiller.messages import Begun, Delivery
from datadistiller.queueing import Publisher, Record
from datadistiller.queueing.kafka_buffer import Received
from datadistiller.queueing.kafka_client import Access
from datadistiller.queueing.kafka_receiver import Receiver

#: Ids looked at together: the urgent among them are begun first.
LOOK = 32
BUSY_SECONDS = 0.02  # until messages that are in other hands at this moment are looked at again
REJECT_SECONDS = 0.5  # between two tries to put records aside
#: Without a record for this long, a source looks for what is overdue.
NET_SECONDS = 15.0
CLOSE_SECONDS = 4.0  # the session of a member that did not leave ends soon enough

log = structlog.get_logger(__name__)


class KafkaSource:
    """Implements ``queueing.Source`` for one topic, as a member of a consumer group.

    ``begin(ids, limit)`` begins messages by their ids; ``overdue()`` gives ids that Kafka should have brought long ago,
    and is asked after ``net_seconds`` without a record. ``publisher`` takes records that are none of ours to
    ``dead_letter_topic``; it is closed with the source. Nothing connects before the first ``take``.
    """

    def __init__(
        self,
        access: Access,
        topic: str,
        group: str,
        begin: Callable[[Sequence[int], int], Awaitable[Begun]],
        overdue: Callable[[], Awaitable[Sequence[int]]],
        publisher: Publisher,
        dead_letter_topic: str,
        *,
        poll_seconds: float = 60.0,
        buffered: int = 1024,
        net_seconds: float = NET_SECONDS,
    ) -> None:
        self._topic = topic
        self._begin = begin
        self._overdue = overdue
        self._net_seconds = net_seconds
        self._net_at = math.inf  # when to look for what is overdue
        self._passed_over = False
        self._publisher = publisher
        self._dead_letter_topic = dead_letter_topic
        self._receiver = Receiver(access, topic, group, poll_seconds=poll_seconds, buffered=buffered)
        self._buffer = self._receiver.buffer
        self._taking = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._closed = asyncio.Event()

    async def take(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Begins what has arrived, or what arrives within ``wait_seconds``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_seconds
        if self._receiver.start(lambda: loop.call_soon_threadsafe(self._arrived.set)):
            self._expect()
        async with self._taking:
            while not self._closed.is_set():
                left = end - loop.time()
                self._arrived.clear()
                looked = self._buffer.first(max(limit, LOOK))
                if looked:
                    self._expect()
                    deliveries = await self._look(looked, limit)
                    if deliveries or left <= 0:
                        return deliveries
                elif not await self._wait(left):
                    return await self._catch(limit)
        return ()

    async def close(self) -> None:
        """Leaves the group; what was received and not begun is received by others."""
        self._closed.set()
        if not await asyncio.to_thread(self._receiver.stop, CLOSE_SECONDS):
            log.warning("queue_not_left", topic=self._topic, reason="The group took too long to let us go.")
        await self._publisher.close()

    async def _look(self, looked: Sequence[Received], limit: int) -> Sequence[Delivery]:
        """Begins what can be begun, and settles all that need not be looked at again."""
        await self._reject([record for record in looked if record.message_id is None])
        ids = {record.message_id for record in looked if record.message_id is not None}
        if not ids:
            return ()
        begun = await self._begin(sorted(ids), limit)
        if len(begun.later) == len(ids):
            await asyncio.sleep(BUSY_SECONDS)
        self._buffer.settle(r for r in looked if r.message_id is not None and r.message_id not in begun.later)
        return begun.deliveries

    def _expect(self) -> None:
        """From now on a record is expected within the time of the net."""
        self._net_at = asyncio.get_running_loop().time() + self._net_seconds
        self._passed_over = False

    async def _catch(self, limit: int) -> Sequence[Delivery]:
        """Begins what is overdue, if no record came for long. While there is some this goes on batch by batch."""
        if self._closed.is_set() or asyncio.get_running_loop().time() < self._net_at:
            return ()
        ids = await self._overdue()
        if not ids:
            self._expect()
            return ()
        if not self._passed_over:
            log.warning("queue_passed_over", topic=self._topic, reason="It brings nothing, and messages are overdue.")
            self._passed_over = True
        return (await self._begin(ids, limit)).deliveries

    async def _reject(self, records: Sequence[Received]) -> None:
        """Puts records that are none of ours aside, for a person; while the broker is away they stay."""
        if not records:
            return
        try:
            await self._publisher.publish([self._rejected(record) for record in records])
        except errors.Unavailable as error:
            log.warning("records_not_rejected", topic=self._topic, records=len(records), reason=error.message)
            await asyncio.sleep(REJECT_SECONDS)
            return
        except errors.SetupError as error:
            # They are not ours and cannot be kept: they must not stand in the way of what is.
            log.error("records_dropped", topic=self._topic, reason=error.message, hint=error.hint)
        for record in records:
            place = {"partition": record.partition, "offset": record.offset}
            log.error("record_rejected", topic=self._topic, reason=record.wrong, **place)
        self._buffer.settle(records)

    def _rejected(self, record: Received) -> Record:
        headers = {
            "source-topic": self._topic,
            "source-partition": str(record.partition),
            "source-offset": str(record.offset),
            "reason": record.wrong,
        }
        return Record(self._dead_letter_topic, None, record.value, headers)

    async def _wait(self, seconds: float) -> bool:
        """True if something arrived; False if the time is over or the source was closed."""
        waits = {asyncio.create_task(self._arrived.wait()), asyncio.create_task(self._closed.wait())}
        try:
            await asyncio.wait(waits, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self._arrived.is_set() and not self._closed.is_set()
