"""What is Kafka's alone: names as its own tools see them, a foreign reader, strange records, and order."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from importlib import resources

import jsonschema_rs
import pytest

from datadistiller import errors, messages, model, pipeline
from datadistiller.messages import CHUNK_TOPIC, EVENTS_TOPIC, Delivery, Failed, Outcome, Reference
from datadistiller.queueing import Record
from datadistiller.queueing.kafka_client import Access
from datadistiller.queueing.kafka_publisher import KafkaPublisher
from datadistiller.store.database import Database
from tests import kafka_kit, seed
from tests.contracts.store_kit import Kit
from tests.kafka_kit import forms, reading, relaying, until, working
from tools.services.kafka import KafkaServer

# The statements are tried on every PostgreSQL elsewhere.
pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)


@pytest.fixture
async def broker(kafka: KafkaServer) -> KafkaServer:
    """The shared broker without topics."""
    await kafka_kit.fresh(kafka)
    return kafka


@pytest.fixture
async def publisher(broker: KafkaServer) -> AsyncIterator[KafkaPublisher]:
    opened = KafkaPublisher(Access(broker.url))
    yield opened
    await opened.close()


async def empty(database: Database) -> bool:
    return not await seed.messages_left(database)


async def test_names_are_as_promised_for_kafka_s_own_tools(broker: KafkaServer, database: Database) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(relaying(broker, database))
        for stage in ("ingest", "embed", "remove"):
            source = kafka_kit.source(broker, database, stage)
            stack.push_async_callback(source.close)
            await source.take(1, 0.1)
        names = ["doc-ingest-requests", "chunk-processing", "doc-removals"]
        listed, described, groups = await asyncio.gather(
            broker.tool("kafka-topics", "--list", "--exclude-internal"),
            broker.tool("kafka-topics", "--describe", "--topic", "chunk-processing"),
            broker.tool("kafka-consumer-groups", "--list"),
        )
    assert set(listed.split()) >= {*names, *(f"{name}.dlq" for name in names), "document-events"}
    assert "PartitionCount: 12" in described and "cleanup.policy=delete" in described
    assert set(groups.split()) >= {"ingestion-workers", "embedding-workers", "removal-workers"}


async def test_a_foreign_reader_finds_one_event_per_chunk_over_the_partitions(
    broker: KafkaServer, database: Database
) -> None:
    job_id = await seed.chunked(database, 40)
    left = await seed.messages_left(database)
    async with relaying(broker, database, window=2):
        with reading(broker, CHUNK_TOPIC) as reader:
            seen = await reader.count(40)
    expected = {
        row["id"]: {"v": 1, "id": row["id"], "job_id": str(job_id), "chunk_id": str(row["chunk_id"])} for row in left
    }
    assert {form["id"]: form for form in forms(seen)} == expected
    assert [message.key() for message in seen] == [form["chunk_id"].encode() for form in forms(seen)]
    assert len({message.partition() for message in seen}) > 3


async def test_records_that_are_none_of_ours_are_put_aside_and_stop_nobody(
    broker: KafkaServer, database: Database, publisher: KafkaPublisher
) -> None:
    strange = [b"\xff\xfe", b'{"v": 9}', None, b"x" * 100_000]
    await publisher.prepare(pipeline.topics())
    kafka_kit.write(broker, CHUNK_TOPIC, *strange, partition=3)
    await seed.chunked(database, 30)
    async with relaying(broker, database), working(broker, database) as worked:
        with reading(broker, f"{CHUNK_TOPIC}.dlq") as reader:
            aside = await reader.count(len(strange))
        await until(lambda: empty(database))
        await until(lambda: read_up(broker))
    assert worked.count("done") == 30
    assert [message.value() or b"" for message in aside] == [value[:65_536] if value else b"" for value in strange]
    headers = [dict(message.headers() or []) for message in aside]
    assert [header["source-offset"] for header in headers] == [b"0", b"1", b"2", b"3"]
    assert {(h["source-topic"], h["source-partition"]) for h in headers} == {(b"chunk-processing", b"3")}
    assert headers[1]["reason"] == b"The record is not of version 1."


async def read_up(broker: KafkaServer) -> bool:
    """True if the group has acknowledged all there is."""
    group = ("--describe", "--group", pipeline.stage("embed").group)
    lines = (await broker.tool("kafka-consumer-groups", *group)).splitlines()
    lags = [line.split()[5] for line in lines if CHUNK_TOPIC in line]
    return bool(lags) and set(lags) <= {"0", "-"}


async def test_delivered_twice_and_in_any_order_all_is_done_once(
    broker: KafkaServer, database: Database, publisher: KafkaPublisher
) -> None:
    await seed.chunked(database, 60)
    references = [Reference(row["id"], row["job_id"], row["chunk_id"]) for row in await seed.messages_left(database)]
    copies = [Record(CHUNK_TOPIC, None, messages.encode(r)) for r in references * 4]
    copies += [Record(CHUNK_TOPIC, None, messages.encode(Reference(10**6 + n, uuid.uuid4(), None))) for n in range(20)]
    random.Random(7).shuffle(copies)
    await publisher.prepare(pipeline.topics())
    await publisher.publish(copies)
    async with relaying(broker, database), working(broker, database) as one, working(broker, database) as two:
        await until(lambda: empty(database))
        await publisher.publish(copies)  # late ones, of work that is done
        await until(lambda: read_up(broker))
    assert one.count("done") + two.count("done") == 60
    assert one.count("refused") + two.count("refused") == 0
    assert len(await seed.vectors(database)) == 60


async def test_interactive_work_overtakes_bulk(broker: KafkaServer, kit: Kit) -> None:
    bulk = (await kit.accept(lane=model.Lane.BULK)).job.job_id
    await kit.ingest(bulk, [f"bulk {n}" for n in range(400)])
    order: list[uuid.UUID] = []
    entered = 0

    async def slow(batch: Sequence[Delivery]) -> list[Outcome]:
        nonlocal entered
        order.extend(delivery.job_id for delivery in batch)
        if len(order) > 64 and not entered:
            urgent = (await kit.accept()).job.job_id
            await kit.ingest(urgent, [f"urgent {n}" for n in range(10)])
            entered = len(order)
        await asyncio.sleep(0.1)
        return await kafka_kit.at_once(batch)

    async with relaying(broker, kit.db, window=1), working(broker, kit.db, slow):
        await until(lambda: empty(kit.db))
    last = max(n for n, job in enumerate(order) if job != bulk)
    # What was in the window and in work already goes first, and no more than that.
    assert last - entered < 32 + 2 * 32 + 10
    assert order[-1] == bulk


async def test_a_full_buffer_pauses_and_loses_nothing(broker: KafkaServer, database: Database) -> None:
    await seed.chunked(database, 150)
    async with relaying(broker, database), working(broker, database, buffered=4) as worked:
        await until(lambda: empty(database))
    assert (worked.count("done"), worked.count("refused")) == (150, 0)


async def test_dead_letters_are_mirrored(broker: KafkaServer, database: Database) -> None:
    async def cannot(batch: Sequence[Delivery]) -> list[Outcome]:
        return [Failed(delivery, errors.BrokenInvariant("It is broken.")) for delivery in batch]

    job_id = await seed.chunked(database, 2)
    async with relaying(broker, database), working(broker, database, cannot):
        with reading(broker, f"{CHUNK_TOPIC}.dlq") as reader:
            seen = await reader.count(2)
        await until(lambda: _recorded(database, "dead_letters"))
    letters = forms(seen)
    assert {letter["job_id"] for letter in letters} == {str(job_id)}
    assert {letter["error"]["message"] for letter in letters} == {"It is broken."}
    assert [message.key() for message in seen] == [letter["chunk_id"].encode() for letter in letters]
    assert "Line" not in str(letters)  # as the document's text has it


async def _recorded(database: Database, table: str) -> bool:
    async with database.connection() as conn:
        rows = await conn.execute(f"SELECT 1 FROM {table} WHERE published_at IS NOT NULL".encode())
        return bool(await rows.fetchall())


async def test_document_events_are_as_their_schema_says(broker: KafkaServer, kit: Kit) -> None:
    done = await kit.searchable(["secret a", "secret b"], filename="secret.txt", collection="reports")
    dropped = (await kit.accept()).job.job_id
    await kit.jobs.cancel(dropped)
    await kit.jobs.retry(dropped)
    [delivery] = await kit.claim(messages.INGEST_TOPIC)
    await kit.settle(Failed(delivery, errors.EncryptedDocument()))
    await kit.jobs.delete(done.job_id)
    async with relaying(broker, kit.db):
        with reading(broker, EVENTS_TOPIC) as reader:
            seen = await reader.count(7)
    schema = json.loads((resources.files("datadistiller.queueing") / "document-events.v1.json").read_text())
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    events = forms(seen)
    for event in events:
        validator.validate(event)
        assert set(event) == set(schema["properties"]) == set(schema["required"])
    story = {job: [e["event"] for e in events if e["job_id"] == str(job)] for job in (done.job_id, dropped)}
    assert story[done.job_id] == ["accepted", "completed", "deleted"]
    assert story[dropped] == ["accepted", "cancelled", "accepted", "failed"]
    assert [message.key() for message in seen] == [event["job_id"].encode() for event in events]
    assert events[-1 if events[-1]["event"] == "failed" else -4]["error_code"] == "encrypted"
    assert "secret" not in str(events)


async def test_work_goes_on_while_nothing_can_be_told(
    broker: KafkaServer, database: Database, publisher: KafkaPublisher
) -> None:
    await publisher.prepare(pipeline.topics())
    alter = ("--alter", "--entity-type", "topics", "--entity-name", EVENTS_TOPIC)
    await broker.tool("kafka-configs", *alter, "--add-config", "max.message.bytes=10")
    await seed.chunked(database, 40)
    async with relaying(broker, database), working(broker, database) as worked:
        await until(lambda: empty(database))
    assert worked.count("done") == 40
    assert not await _recorded(database, "job_events")


async def test_of_two_relays_one_publishes_and_the_other_takes_over(broker: KafkaServer, database: Database) -> None:
    await seed.chunked(database, 20)
    with reading(broker, CHUNK_TOPIC) as reader:
        async with AsyncExitStack() as outer:
            async with relaying(broker, database):
                await reader.count(20)
                await outer.enter_async_context(relaying(broker, database))
                await seed.chunked(database, 10)
                assert len({form["id"] for form in forms(await reader.count(30))}) == 30
            await seed.chunked(database, 10)
            ids = await reader.read(lambda seen: len({form["id"] for form in forms(seen)}) == 40)
    assert len(ids) <= 40 + 30  # whoever begins to lead publishes the window again, which nobody has begun here
