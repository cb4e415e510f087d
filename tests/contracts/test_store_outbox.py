"""What the relay publishes: through a window, the urgent first; again only from the window; the rest in order."""

from __future__ import annotations

import asyncio
from datetime import datetime
from uuid import UUID, uuid4

import pytest

from datadistiller import errors, model
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC, Done, Failed, Reference
from datadistiller.store.outbox import Outbox
from tests.contracts.store_kit import ALL_LIMITS, Kit, embedded

WINDOW = 5


@pytest.fixture
def outbox(kit: Kit) -> Outbox:
    return Outbox(kit.db)


def ids(references: list[Reference]) -> list[int]:
    return [reference.message_id for reference in references]


async def chunks(kit: Kit, count: int, **changes: object) -> UUID:
    job_id = (await kit.accept(**changes)).job.job_id
    await kit.ingest(job_id, [f"{job_id} {n}" for n in range(count)])
    return job_id


async def test_the_window_takes_the_urgent_first_and_no_more_than_it_holds(kit: Kit, outbox: Outbox) -> None:
    bulk = await chunks(kit, 4, lane=model.Lane.BULK)
    urgent = await chunks(kit, 3)
    marked = await outbox.mark(CHUNK_TOPIC, WINDOW)
    assert [reference.job_id for reference in marked] == [urgent] * 3 + [bulk] * 2
    assert all(reference.key == str(reference.chunk_id) for reference in marked)
    assert await outbox.mark(CHUNK_TOPIC, WINDOW) == []
    assert (await outbox.window(CHUNK_TOPIC)).messages == WINDOW


async def test_what_is_begun_makes_room_and_what_comes_back_is_published_again(kit: Kit, outbox: Outbox) -> None:
    await chunks(kit, 8)
    first = ids(await outbox.mark(CHUNK_TOPIC, WINDOW))
    begun = (await kit.messages.begin(CHUNK_TOPIC, first[:3], 3, kit.boot, 60)).deliveries
    assert len(await outbox.mark(CHUNK_TOPIC, WINDOW)) == 3
    # Given back, failed, lost with its worker: each leaves the window and waits to enter it again.
    await kit.messages.release(begun[:1])
    await kit.settle(Failed(begun[1], errors.TransientError()))
    await kit.workers.remove(kit.boot)
    assert await kit.messages.reap(8, ALL_LIMITS) == 1
    await kit.run("UPDATE messages SET available_at = now() WHERE available_at > now()")
    assert sorted(ids(await outbox.mark(CHUNK_TOPIC, 8))) == first[:3]


async def test_messages_that_are_not_due_wait(kit: Kit, outbox: Outbox) -> None:
    await kit.accept()
    await kit.run("UPDATE messages SET available_at = now() + interval '1 minute'")
    assert await outbox.mark(INGEST_TOPIC, WINDOW) == []


async def test_topics_have_windows_of_their_own(kit: Kit, outbox: Outbox) -> None:
    await chunks(kit, WINDOW)
    job_id = (await kit.accept()).job.job_id
    assert len(await outbox.mark(CHUNK_TOPIC, WINDOW)) == WINDOW
    [reference] = await outbox.mark(INGEST_TOPIC, WINDOW)
    assert (reference.job_id, reference.key) == (job_id, str(job_id))


async def test_two_that_mark_at_once_take_different_ones(kit: Kit, outbox: Outbox) -> None:
    await chunks(kit, 60)
    marked = [ids(found) for found in await asyncio.gather(*(outbox.mark(CHUNK_TOPIC, 30) for _ in range(4)))]
    together = [n for found in marked for n in found]
    assert len(together) == len(set(together)) >= 30


async def test_only_what_is_in_the_window_is_published_again(kit: Kit, outbox: Outbox) -> None:
    await chunks(kit, 8)
    marked = await outbox.mark(CHUNK_TOPIC, WINDOW)
    begun = (await kit.messages.begin(CHUNK_TOPIC, ids(marked)[:2], 2, kit.boot, 60)).deliveries
    await kit.settle(Done(begun[0], embedded()))
    assert await outbox.mark_again(CHUNK_TOPIC, 60) == []
    assert ids(await outbox.mark_again(CHUNK_TOPIC, 0)) == ids(marked)[2:]


async def test_one_relay_leads(kit: Kit, outbox: Outbox) -> None:
    async with outbox.lead() as first:
        async with outbox.lead() as second:
            assert (first.held, second.held) == (True, False)
        await first.check()
    async with outbox.lead() as third:
        assert third.held


async def test_what_is_told_of_a_document(kit: Kit, outbox: Outbox) -> None:
    done = (await kit.searchable(["a", "b"])).job_id
    failing = (await kit.accept()).job.job_id
    [delivery] = await kit.claim(INGEST_TOPIC)
    await kit.settle(Failed(delivery, errors.EncryptedDocument()))
    await kit.jobs.retry(failing)
    await kit.jobs.cancel(failing)
    await kit.jobs.delete(done)
    events = await outbox.events(100)
    told = {job: [(e.event, e.attempt) for e in events if e.job_id == job] for job in (done, failing)}
    assert told[done] == [("accepted", 1), ("completed", 1), ("deleted", 1)]
    assert told[failing] == [("accepted", 1), ("failed", 1), ("accepted", 2), ("cancelled", 2)]
    numbers = [e.n for e in events if e.job_id == failing]
    assert numbers == sorted(numbers)
    # It moved on before it was told: what is known now is not what made it fail.
    assert {(e.event, e.error_code) for e in events if e.job_id == failing} >= {
        ("failed", None),
        ("cancelled", "cancelled"),
    }
    await outbox.events_published(events[:3])
    assert await outbox.events(100) == events[3:]


async def test_an_event_holds_what_the_document_had(kit: Kit, outbox: Outbox) -> None:
    await kit.searchable(["a", "b"], collection="reports")
    accepted, completed = await outbox.events(100)
    assert (accepted.collection, accepted.total_chunks, accepted.error_code) == ("reports", None, None)
    assert (completed.total_chunks, completed.failed_chunks, completed.error_code) == (2, 0, None)
    assert isinstance(completed.at, datetime)


async def test_dead_letters_are_told_once_they_are_recorded(kit: Kit, outbox: Outbox) -> None:
    await chunks(kit, 2)
    deliveries = await kit.claim(CHUNK_TOPIC)
    await kit.settle(*[Failed(delivery, errors.BrokenInvariant("It is broken.")) for delivery in deliveries])
    letters = await outbox.letters(100)
    assert [letter.reference.chunk_id for letter in letters] == [delivery.chunk_id for delivery in deliveries]
    assert letters[0].error.message == "It is broken."
    await outbox.letters_published(letters[:1])
    assert await outbox.letters(100) == letters[1:]


async def test_it_reads_the_window_and_the_head_of_the_queue_only(kit: Kit, outbox: Outbox) -> None:
    values = {"topic": CHUNK_TOPIC, "window": 9, "seconds": 1.0, "limit": 9, "jobs": [uuid4()], "numbers": [1]}
    plans = {}
    for name in ("mark", "mark_again", "window", "letters", "events", "events_published"):
        async with kit.db.transaction() as conn:
            rows = await (await conn.execute(b"EXPLAIN " + outbox._sql[name], values)).fetchall()
        plans[name] = "\n".join(row["QUERY PLAN"] for row in rows)
        assert "Seq Scan" not in plans[name] and "Bitmap" not in plans[name], plans[name]
    assert "messages_window" in plans["mark"] and "messages_due" in plans["mark"]
    assert "messages_window" in plans["mark_again"] and "messages_window" in plans["window"]
    assert "dead_letters_unpublished" in plans["letters"] and "job_events_unpublished" in plans["events"]
