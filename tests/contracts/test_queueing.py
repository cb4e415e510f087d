"""The contract of ``queueing.Source``, on each adapter."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest

from datadistiller import queueing
from datadistiller.messages import CHUNK_TOPIC, Delivery
from datadistiller.queueing.postgres import PostgresSource
from datadistiller.store.database import Database
from datadistiller.store.messages import Messages
from datadistiller.store.signals import WORK, Notifier, Signals
from tests import kafka_kit, seed
from tools.services.kafka import KafkaServer

LONG = 30.0  # seconds no test waits


@pytest.fixture(params=["postgres", "kafka"])
async def source(
    request: pytest.FixtureRequest, database: Database, database_url: str
) -> AsyncIterator[queueing.Source]:
    if request.param == "postgres":
        opening = claiming(database, database_url)
    else:
        opening = receiving(await asyncio.to_thread(request.getfixturevalue, "kafka"), database)
    async with opening as opened:
        yield opened


@asynccontextmanager
async def claiming(database: Database, database_url: str) -> AsyncIterator[queueing.Source]:
    """The embedded queue."""
    signals = Signals(database_url)
    with signals.subscribe(WORK, "everybody is woken when it has connected") as connected:
        await signals.start()
        await connected.wait()
    messages = Messages(database)
    boot = uuid.uuid4()
    yield PostgresSource(
        lambda limit: messages.claim(CHUNK_TOPIC, limit, boot, 60), partial(signals.subscribe, WORK, CHUNK_TOPIC)
    )
    await signals.close()


@asynccontextmanager
async def receiving(kafka: KafkaServer, database: Database) -> AsyncIterator[queueing.Source]:
    """A broker, and a relay that tells it."""
    await kafka_kit.fresh(kafka)
    opened = kafka_kit.source(kafka, database)
    async with kafka_kit.relaying(kafka, database):
        yield opened
        await opened.close()


async def take(source: queueing.Source, count: int, limit: int) -> list[Sequence[Delivery]]:
    """Takes until it has so many: a broker may deliver them in portions."""
    taken: list[Sequence[Delivery]] = []
    while sum(map(len, taken)) < count:
        taken.append(await source.take(limit, LONG))
        assert 0 < len(taken[-1]) <= limit
    return taken


async def test_gives_what_is_due_at_once_and_never_more_than_asked(source: queueing.Source, database: Database) -> None:
    await seed.chunked(database, 5)
    taken = await take(source, 5, limit=3)
    assert len({d.message_id for batch in taken for d in batch}) == 5


async def test_a_delivered_message_is_begun(source: queueing.Source, database: Database) -> None:
    await seed.chunked(database, 1)
    [delivery] = await source.take(1, LONG)
    [row] = await seed.messages_left(database)
    assert row["lease_token"] == delivery.token


async def test_nothing_due_is_an_empty_sequence_after_the_wait(source: queueing.Source) -> None:
    assert list(await source.take(1, 0.05)) == []


async def test_new_work_ends_the_wait(source: queueing.Source, database: Database) -> None:
    waiting = asyncio.create_task(source.take(1, LONG))
    await asyncio.sleep(0.1)
    await seed.chunked(database, 1)
    await Notifier(database).notify(WORK, CHUNK_TOPIC)
    assert len(await waiting) == 1


async def test_suspects_come_alone(source: queueing.Source, database: Database) -> None:
    await seed.chunked(database, 3)
    await take(source, 3, limit=3)
    await Messages(database).reap(0, {CHUNK_TOPIC: seed.LIMITS})  # nobody has registered that boot
    assert [len(batch) for batch in await take(source, 3, limit=3)] == [1, 1, 1]


async def test_closing_ends_a_wait_and_all_further_ones(source: queueing.Source, database: Database) -> None:
    waiting = asyncio.create_task(source.take(1, LONG))
    await asyncio.sleep(0.1)
    await source.close()
    assert list(await waiting) == []
    await seed.chunked(database, 1)
    assert list(await source.take(1, LONG)) == []
    assert [row["lease_token"] for row in await seed.messages_left(database)] == [None]


async def test_a_cancelled_wait_leaves_the_source_usable(source: queueing.Source, database: Database) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(source.take(1, LONG), 0.1)
    await seed.chunked(database, 1)
    assert len(await source.take(1, LONG)) == 1
