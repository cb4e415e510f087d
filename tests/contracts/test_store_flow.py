"""A document on its way through the store: the ordinary course, retries, and what is refused."""

from __future__ import annotations

from datadistiller import model
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC
from tests.contracts.store_kit import Kit


async def test_the_ordinary_course(kit: Kit) -> None:
    position = await kit.position()
    accepted = await kit.accept(metadata={"year": 2024})
    assert (accepted.duplicate, accepted.replayed) == (False, False)
    assert (accepted.job.status, accepted.job.progress) == (model.Status.PENDING, 0)
    job_id = accepted.job.job_id
    (delivery,) = await kit.claim(INGEST_TOPIC, 5)
    assert (await kit.jobs.get(job_id)).status == model.Status.PROCESSING
    assert await kit.jobs.advance([(delivery, 2)], model.Status.PROCESSING, 12)
    assert await kit.jobs.advance([(delivery, None)], model.Status.CHUNKING, 25)
    await kit.messages.release([delivery])
    settled = await kit.ingest(job_id, ["alpha", "beta"])
    assert (settled.next_topics, settled.jobs, settled.refused) == ({CHUNK_TOPIC}, [job_id], [])
    job = await kit.jobs.get(job_id)
    assert (job.status, job.progress, job.total_chunks, job.processed_chunks) == (model.Status.EMBEDDING, 30, 2, 0)
    assert len(await kit.embed()) == 2
    job = await kit.jobs.get(job_id)
    assert job.status == model.Status.EMBEDDING, "vectors alone do not complete a job"
    assert await kit.chunks.passages(await kit.numbers(job_id)) == []
    await kit.follow(position)
    job = await kit.jobs.get(job_id)
    assert (job.status, job.progress, job.processed_chunks, job.searchable) == (model.Status.COMPLETED, 100, 2, True)
    assert job.finished_at is not None
    assert [p.text for p in await kit.chunks.passages((await kit.numbers(job_id))[::-1])] == ["beta", "alpha"]
    events = await kit.jobs.events(job_id)
    assert [e.status for e in events] == ["pending", "processing", "chunking", "embedding", "completed"]
    assert [e.n for e in await kit.jobs.events(job_id, after_n=3)] == [4, 5]
    assert await kit.rows("SELECT 1 FROM messages") == []
