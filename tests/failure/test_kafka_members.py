"""Members of consumer groups after the broker has lost its memory: nobody stands by without partitions."""

from __future__ import annotations

import asyncio

from datadistiller import pipeline
from datadistiller.messages import CHUNK_TOPIC
from datadistiller.queueing.kafka_client import Access
from datadistiller.queueing.kafka_publisher import KafkaPublisher
from datadistiller.queueing.kafka_receiver import Receiver
from tests import services
from tests.kafka_kit import until
from tools.services.kafka import KafkaServer

GROUPS = 6  # alone in theirs; one in three used to be left out


async def test_who_joined_while_the_topic_was_gone_gets_it_when_it_is_there() -> None:
    async with services.own(KafkaServer) as broker:
        access = Access(broker.url)
        publisher = KafkaPublisher(access)
        members = [Receiver(access, CHUNK_TOPIC, f"group-{n}", poll_seconds=60, buffered=1024) for n in range(GROUPS)]
        try:
            await publisher.prepare(pipeline.topics())
            for member in members:
                member.start(bool)
            await until(lambda: all(member.buffer.owns() for member in members))
            for pause in (0.0, 1.5):
                await broker.wipe()
                await broker.start()
                await asyncio.sleep(pause)
                await publisher.prepare(pipeline.topics())
                await until(lambda: all(member.buffer.owns() for member in members))
        finally:
            await asyncio.gather(*(asyncio.to_thread(member.stop, 10) for member in members))
            await publisher.close()


async def test_a_member_that_is_stopped_while_it_starts_starts_nothing_and_fails_nowhere() -> None:
    access = Access("kafka://127.0.0.1:1")
    for _ in range(50):
        member = Receiver(access, CHUNK_TOPIC, "group", poll_seconds=60, buffered=1024)
        stopping = asyncio.create_task(asyncio.to_thread(member.stop, 10))
        await asyncio.sleep(0)
        member.start(bool)
        await stopping
        assert member.stop(10)
        assert not member.start(bool)
