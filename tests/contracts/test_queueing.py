"""The contract of ``queueing.Source``, on each adapter."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from functools import partial

import pytest

from datadistiller import queueing
from datadistiller.messages import CHUNK_TOPIC
from datadistiller.queueing.postgres import PostgresSource
from datadistiller.store.database import Database
from datadistiller.store.messages import Messages
from datadistiller.store.signals import WORK, Notifier, Signals
from tests import seed

LONG = 30.0  # seconds no test waits


@pytest.fixture
async def source(database: Database, database_url: str) -> AsyncIterator[queueing.Source]:
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


async def test_gives_what_is_due_at_once_and_never_more_than_asked(source: queueing.Source, database: Database) -> None:
    await seed.chunked(database, 5)
    first = await source.take(3, LONG)
    second = await source.take(3, LONG)
    assert (len(first), len(second)) == (3, 2)
    assert len({d.message_id for d in (*first, *second)}) == 5


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
    assert len(await source.take(3, LONG)) == 3
    await Messages(database).reap(0, {CHUNK_TOPIC: seed.LIMITS})  # nobody has registered that boot
    assert [len(await source.take(3, LONG)) for _ in range(3)] == [1, 1, 1]


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
