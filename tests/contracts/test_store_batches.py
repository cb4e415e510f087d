"""Small documents are begun and settled together; what is wrong with one of them is its own."""

from __future__ import annotations

from uuid import uuid4

from datadistiller import errors, model
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC, Done, Failed
from tests.contracts.store_kit import LIMITS, Kit, reading

LARGE = {"file_size": 65_537}
PDF = {"media_type": "application/pdf"}


async def names(kit: Kit, limit: int = 8) -> list[str]:
    """The names of the documents that the next claim gives."""
    claimed = await kit.claim(INGEST_TOPIC, limit)
    return [(await kit.jobs.get(delivery.job_id)).filename for delivery in claimed]


async def test_small_texts_come_together_and_all_others_alone(kit: Kit) -> None:
    for name, changes in (("a", {}), ("big", LARGE), ("b", {}), ("pdf", PDF), ("c", {"media_type": "text/markdown"})):
        await kit.accept(filename=name, **changes)
    assert await names(kit, limit=4) == ["a", "b"], "of those whose turn it is, in their order"
    assert await names(kit) == ["big"]
    assert await names(kit) == ["pdf"]
    assert await names(kit) == ["c"]
    assert await names(kit) == []


async def test_an_interactive_document_does_not_wait_for_bulk_ones(kit: Kit) -> None:
    for name, lane in (("bulk", model.Lane.BULK), ("now", model.Lane.INTERACTIVE), ("more", model.Lane.BULK)):
        await kit.accept(filename=name, lane=lane)
    assert await names(kit) == ["now"]
    assert await names(kit) == ["bulk", "more"]


async def test_the_same_by_ids(kit: Kit) -> None:
    for name, changes in (("a", {}), ("pdf", PDF), ("b", {})):
        await kit.accept(filename=name, **changes)
    ids = [row["id"] for row in await kit.rows("SELECT id FROM messages ORDER BY id")]
    first = await kit.messages.begin(INGEST_TOPIC, ids, 8, kit.boot, 60)
    assert [delivery.message_id for delivery in first.deliveries] == [ids[0], ids[2]]
    assert first.later == {ids[1]}
    second = await kit.messages.begin(INGEST_TOPIC, ids, 8, kit.boot, 60)
    assert [delivery.message_id for delivery in second.deliveries] == [ids[1]]


async def test_a_suspect_among_small_documents_is_given_out_alone(kit: Kit) -> None:
    for name in ("a", "b", "c"):
        await kit.accept(filename=name)
    gone = uuid4()  # a worker that never was
    assert len(await kit.claim(INGEST_TOPIC, 2, boot=gone)) == 2
    assert await kit.messages.reap(60, {INGEST_TOPIC: LIMITS}) == 2
    assert await names(kit) == ["c"]
    assert [len(await names(kit)), len(await names(kit))] == [1, 1]


async def test_a_claim_that_gives_one_locks_one(kit: Kit) -> None:
    """Another worker finds the others at the same moment."""
    for name in ("one", "two"):
        await kit.accept(filename=name, **PDF)
    async with kit.db.transaction() as conn:
        values = {"topic": INGEST_TOPIC, "limit": 8, "boot": kit.boot, "seconds": 60.0}
        await conn.execute(kit.messages._sql["claim_ingest"], values)
        assert await names(kit) == ["two"]


async def test_readings_are_settled_together_each_by_itself(kit: Kit) -> None:
    jobs = [(await kit.accept(filename=name)).job.job_id for name in ("one", "two", "none", "gone")]
    deliveries = await kit.claim(INGEST_TOPIC)
    assert [delivery.job_id for delivery in deliveries] == jobs
    await kit.jobs.cancel(jobs[3])
    counts = (1, 3, 0, 2)
    texts = {job: [f"{job} {n}" for n in range(count)] for job, count in zip(jobs, counts, strict=True)}
    settled = await kit.settle(
        *[Done(d, reading(d.job_id, texts[d.job_id], context=str(d.job_id))) for d in deliveries]
    )
    assert settled.refused == [deliveries[3].message_id]
    assert set(settled.jobs) == {*jobs[:3]} and settled.next_topics == {CHUNK_TOPIC} and not settled.changed
    found = [await kit.jobs.get(job) for job in jobs]
    assert [job.status.value for job in found] == ["embedding", "embedding", "failed", "cancelled"]
    assert [job.total_chunks for job in found[:2]] == [1, 3]
    for job in jobs[:2]:
        rows = await kit.rows("SELECT text, context FROM document_chunks WHERE job_id = %s ORDER BY ordinal", job)
        assert rows == [{"text": text, "context": str(job)} for text in texts[job]]
        pages = await kit.rows("SELECT text FROM document_pages WHERE job_id = %s ORDER BY page", job)
        assert [row["text"] for row in pages] == texts[job]
    assert await kit.rows("SELECT 1 FROM document_pages WHERE job_id = ANY(%s)", jobs[2:]) == []
    asked = await kit.claim(CHUNK_TOPIC)
    assert [d.job_id for d in asked] == [jobs[0], *[jobs[1]] * 3], "document by document"


async def test_several_move_on_but_for_those_whose_lease_is_lost(kit: Kit) -> None:
    for name in ("one", "two"):
        await kit.accept(filename=name)
    one, two = await kit.claim(INGEST_TOPIC)
    await kit.settle(Failed(one, errors.TransientError("Once more.")))
    moved = await kit.jobs.advance([(one, 3), (two, 5)], model.Status.CHUNKING, 25)
    assert moved == {two.message_id}
    found = [await kit.jobs.get(delivery.job_id) for delivery in (one, two)]
    assert [(job.status.value, job.page_count) for job in found] == [("processing", None), ("chunking", 5)]
