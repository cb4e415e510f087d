"""Messages begun by their ids, as a broker delivers them: whatever it delivers, in whatever order, how often ever."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from datadistiller import model
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC, REMOVE_TOPIC, Begun, Done
from tests.contracts.store_kit import ALL_LIMITS, Kit, embedded

GRACE = 5.0  # seconds that nobody needs


async def ids_of(kit: Kit) -> list[int]:
    return [row["id"] for row in await kit.rows("SELECT id FROM messages ORDER BY id")]


async def chunks(kit: Kit, count: int, **changes: object) -> list[int]:
    """The ids of the messages of a document's chunks."""
    before = set(await ids_of(kit))
    job_id = (await kit.accept(**changes)).job.job_id
    await kit.ingest(job_id, [f"{job_id} {n}" for n in range(count)])
    return [n for n in await ids_of(kit) if n not in before]


async def begin(
    kit: Kit, ids: Sequence[int], limit: int = 32, topic: str = CHUNK_TOPIC, boot: UUID | None = None
) -> Begun:
    return await kit.messages.begin(topic, ids, limit, boot or kit.boot, 60)


def begun(result: Begun) -> list[int]:
    return [delivery.message_id for delivery in result.deliveries]


async def test_what_is_due_is_begun_and_can_be_settled(kit: Kit) -> None:
    ids = await chunks(kit, 3)
    result = await begin(kit, ids)
    assert begun(result) == ids and not result.later
    settled = await kit.settle(*[Done(delivery, embedded()) for delivery in result.deliveries])
    assert not settled.refused


async def test_delivered_twice_and_in_any_order_each_is_begun_once(kit: Kit) -> None:
    ids = await chunks(kit, 40)
    orders = [ids, ids[::-1], ids[20:] + ids[:20], [n for n in ids for _ in range(2)]]
    results = await asyncio.gather(*(begin(kit, order, limit=100, boot=uuid4()) for order in orders * 3))
    assert sorted(n for result in results for n in begun(result)) == ids
    again = await begin(kit, ids, limit=100)
    assert not again.deliveries and not again.later


async def test_what_is_gone_leased_not_due_or_of_another_topic_is_refused(kit: Kit) -> None:
    gone, leased, delayed, *_ = ids = await chunks(kit, 3)
    await begin(kit, [leased], boot=uuid4())
    await kit.run("DELETE FROM messages WHERE id = %s", gone)
    await kit.run("UPDATE messages SET available_at = now() + interval '1 minute' WHERE id = %s", delayed)
    other = (await kit.accept()).job
    [ingest] = [n for n in await ids_of(kit) if n not in ids]
    result = await begin(kit, [*ids, ingest, 2**62])
    assert not result.deliveries and not result.later
    assert (await kit.jobs.get(other.job_id)).status == model.Status.PENDING


async def test_more_than_asked_for_stays_due_and_the_urgent_go_first(kit: Kit) -> None:
    bulk = await chunks(kit, 3, lane=model.Lane.BULK)
    urgent = await chunks(kit, 2)
    result = await begin(kit, [*bulk, *urgent], limit=3)
    assert begun(result) == sorted([*urgent, bulk[0]])
    assert result.later == set(bulk[1:])


async def test_suspects_come_alone_and_wait_for_their_turn(kit: Kit) -> None:
    ids = await chunks(kit, 4)
    dead = uuid4()
    await begin(kit, ids[:2], boot=dead)
    assert await kit.messages.reap(8, ALL_LIMITS) == 2  # that boot was never registered
    result = await begin(kit, ids)
    assert begun(result) == ids[2:] and result.later == set(ids[:2])  # a freed message goes to the end of the queue
    for suspect in ids[:2]:
        result = await begin(kit, ids)
        assert begun(result) == [suspect]
    assert not result.later


async def test_what_somebody_touches_at_this_moment_is_not_waited_for_and_not_lost(kit: Kit) -> None:
    held, free = await chunks(kit, 2)
    async with kit.db.transaction() as conn:
        await conn.execute(f"SELECT 1 FROM messages WHERE id = {held} FOR UPDATE".encode())
        result = await asyncio.wait_for(begin(kit, [held, free]), GRACE)
        assert begun(result) == [free] and result.later == {held}
    assert begun(await begin(kit, [held, free])) == [held]


async def test_beginning_to_read_a_document_moves_it_to_processing(kit: Kit) -> None:
    jobs = [(await kit.accept()).job.job_id for _ in range(3)]
    ids = await ids_of(kit)
    result = await begin(kit, ids, limit=1, topic=INGEST_TOPIC)
    assert begun(result) == ids[:1] and result.later == set(ids[1:])
    assert [(await kit.jobs.get(job)).status for job in jobs] == ["processing", "pending", "pending"]


async def test_a_document_that_is_being_changed_is_not_waited_for(kit: Kit) -> None:
    # Whoever changes a document holds its row first and then wants its messages: waiting here could deadlock.
    job_id = (await kit.accept()).job.job_id
    [ingest] = await ids_of(kit)
    async with kit.db.transaction() as conn:
        await conn.execute(b"SELECT 1 FROM document_jobs WHERE job_id = %s FOR NO KEY UPDATE", (job_id,))
        result = await asyncio.wait_for(begin(kit, [ingest], topic=INGEST_TOPIC), GRACE)
        assert not result.deliveries and result.later == {ingest}
    await kit.jobs.cancel(job_id)
    result = await begin(kit, [ingest], topic=INGEST_TOPIC)
    assert not result.deliveries and not result.later


async def test_removals_are_begun_too(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    await kit.jobs.delete(job_id)
    [removal] = await ids_of(kit)
    [delivery] = (await begin(kit, [removal], topic=REMOVE_TOPIC)).deliveries
    assert (delivery.job_id, delivery.topic, delivery.chunk_id) == (job_id, REMOVE_TOPIC, None)


async def test_what_nobody_brought_for_long_is_overdue_in_the_order_of_its_urgency(kit: Kit) -> None:
    leased, published, unpublished, lately = await chunks(kit, 4)
    await begin(kit, [leased], boot=uuid4())
    due = "UPDATE messages SET available_at = now() - %s WHERE id = %s"
    for minutes, message in ((5, published), (3, unpublished), (0.2, lately)):
        await kit.run(due, timedelta(minutes=minutes), message)
    await kit.run("UPDATE messages SET published_at = now() WHERE id = %s", published)
    assert await kit.messages.overdue(CHUNK_TOPIC, 60, 10) == [published, unpublished]
    assert await kit.messages.overdue(CHUNK_TOPIC, 60, 1) == [published]
    assert await kit.messages.overdue(INGEST_TOPIC, 60, 10) == []


async def test_it_looks_up_ids_and_reads_nothing_else(kit: Kit) -> None:
    await chunks(kit, 1)
    for name in ("begin", "begin_ingest"):
        statement = kit.messages._sql[name]
        values = {"ids": [1, 2], "topic": CHUNK_TOPIC, "limit": 2, "boot": kit.boot, "seconds": 60.0}
        async with kit.db.transaction() as conn:
            # Statistics of an empty table are what the queue's always look like.
            rows = await (await conn.execute(b"EXPLAIN " + statement, values)).fetchall()
        plan = "\n".join(row["QUERY PLAN"] for row in rows)
        assert "messages_pkey" in plan and "messages_due" not in plan and "Seq Scan" not in plan, plan
