"""Jobs: accepted once however often they come, listed, cancelled, retried, deleted."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from datadistiller import errors, model
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC, REMOVE_TOPIC, Done, Removed
from tests.contracts.store_kit import Kit, embedded, failed, new_job, reading


async def test_two_uploads_of_the_same_bytes_at_once_are_one_job(kit: Kit) -> None:
    answers = await asyncio.gather(*(kit.accept("same") for _ in range(8)))
    assert len({a.job.job_id for a in answers}) == 1
    assert sorted(a.duplicate for a in answers) == [False] + [True] * 7
    assert len(await kit.rows("SELECT 1 FROM messages")) == 1
    other = await kit.accept("same", collection="other")
    assert not other.duplicate


async def test_an_idempotency_key_gives_the_same_answer_even_at_once(kit: Kit) -> None:
    key = {"idempotency_key": "k", "request_hash": "h"}
    answers = await asyncio.gather(*(kit.accept(f"content {n}", **key) for n in range(6)))
    assert len({a.job.job_id for a in answers}) == 1
    assert sorted(a.replayed for a in answers) == [False] + [True] * 5
    assert len(await kit.rows("SELECT 1 FROM document_jobs")) == 1
    with pytest.raises(errors.IdempotencyMismatch):
        await kit.accept("content", idempotency_key="k", request_hash="other")
    found = await kit.jobs.find_idempotent("k", "h")
    assert found is not None and found.job_id == answers[0].job.job_id
    assert await kit.jobs.find_idempotent("unknown", "h") is None
    with pytest.raises(errors.IdempotencyMismatch):
        await kit.jobs.find_idempotent("k", "other")


async def test_a_key_of_a_duplicate_names_the_first_job(kit: Kit) -> None:
    first = await kit.accept("same")
    second = await kit.accept("same", idempotency_key="k", request_hash="h")
    third = await kit.accept("same", idempotency_key="k", request_hash="h")
    assert (second.duplicate, third.replayed) == (True, True)
    assert first.job.job_id == second.job.job_id == third.job.job_id


async def test_a_deleted_document_can_be_uploaded_again_with_its_key(kit: Kit) -> None:
    key = {"idempotency_key": "k", "request_hash": "h"}
    first = await kit.accept("same", **key)
    await kit.jobs.delete(first.job.job_id)
    again = await kit.accept("same", **key)
    assert (again.duplicate, again.replayed) == (False, False)
    assert again.job.job_id != first.job.job_id


async def test_a_duplicate_of_a_failed_or_cancelled_job_starts_a_new_attempt(kit: Kit) -> None:
    first = await kit.accept("same")
    await kit.jobs.cancel(first.job.job_id)
    again = await kit.accept("same")
    assert (again.duplicate, again.job.attempt, again.job.status) == (True, 2, model.Status.PENDING)
    (delivery,) = await kit.claim(INGEST_TOPIC)
    assert delivery.attempt == 2
    await kit.settle(*failed([delivery], errors.NoText()))
    third = await kit.accept("same")
    assert (third.job.attempt, third.job.error) == (3, None)
    assert await kit.rows("SELECT 1 FROM dead_letters") == []


@pytest.mark.parametrize("field", ["filename", "collection", "idempotency_key"])
async def test_a_text_that_cannot_be_stored_is_the_callers_to_mend(kit: Kit, field: str) -> None:
    for text in ("nul \0", "half \ud800"):
        with pytest.raises(errors.InvalidRequest):
            await kit.accept(**{field: text})
    with pytest.raises(errors.InvalidRequest):
        await kit.accept(metadata={"a": "\0"})
    assert await kit.rows("SELECT 1 FROM document_jobs") == []


async def test_the_list_is_complete_in_pages_newest_first(kit: Kit) -> None:
    made = [(await kit.accept(collection="ab"[n % 2])).job.job_id for n in range(7)]
    await kit.jobs.delete(made.pop())
    seen, cursor = [], None
    while True:
        page, cursor = await kit.jobs.list(None, None, 2, cursor)
        seen += [job.job_id for job in page]
        if cursor is None:
            break
    assert seen == made[::-1]
    await kit.jobs.cancel(made[0])
    page, _ = await kit.jobs.list(model.Status.CANCELLED, "a", 10, None)
    assert [job.job_id for job in page] == [made[0]]
    for cursor in ("nonsense", "bm9uc2Vuc2U=", "ü"):
        with pytest.raises(errors.InvalidRequest):
            await kit.jobs.list(None, None, 2, cursor)
    assert await kit.jobs.unfinished_count() == 5
    assert (await kit.jobs.count_by_status())["pending"] == 5


async def test_cancel_takes_the_work_away_at_every_stage(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    (delivery,) = await kit.claim(INGEST_TOPIC)
    job = await kit.jobs.cancel(job_id)
    assert (job.status, job.searchable) == (model.Status.CANCELLED, False)
    assert await kit.messages.held(kit.boot, [delivery.message_id]) == set()
    assert not await kit.jobs.advance([(delivery, None)], model.Status.CHUNKING, 25)
    assert (await kit.settle(Done(delivery, reading(job_id, ["x"])))).refused == [delivery.message_id]
    assert (await kit.settle(*failed([delivery], errors.NoText()))).refused == [delivery.message_id]
    assert await kit.jobs.cancel(job_id) == job, "who asks again gets the same answer"
    with pytest.raises(errors.JobNotFound):
        await kit.jobs.cancel(uuid4())
    assert (await kit.jobs.get(job_id)).status == model.Status.CANCELLED


async def test_cancel_while_embedding_takes_the_chunks_out_of_the_index(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["a", "b", "c"])
    await kit.embed(2)
    position = await kit.follow(position)
    (late,) = await kit.claim(CHUNK_TOPIC)
    await kit.jobs.cancel(job_id)
    assert (await kit.settle(Done(late, embedded()))).refused == [late.message_id]
    numbers, position = await kit.changes.since(position)
    entries, gone = await kit.changes.read(numbers, kit.model_id)
    assert (entries, gone) == ([], numbers) and len(numbers) >= 2
    # The next attempt keeps the vectors: only the third chunk is embedded, but all are acknowledged anew.
    await kit.jobs.retry(job_id)
    await kit.ingest(job_id, ["a", "b", "c"])
    assert len(await kit.embed()) == 1
    assert (await kit.jobs.get(job_id)).processed_chunks == 0
    await kit.follow(position)
    assert (await kit.jobs.get(job_id)).status == model.Status.COMPLETED


async def test_retry_is_for_failed_partial_and_cancelled_only(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    with pytest.raises(errors.Conflict):
        await kit.jobs.retry(job_id)
    await kit.jobs.cancel(job_id)
    done = await kit.searchable(["x"])
    with pytest.raises(errors.Conflict):
        await kit.jobs.retry(done.job_id)
    job = await kit.jobs.retry(job_id)
    assert (job.attempt, job.status, job.progress, job.total_chunks) == (2, model.Status.PENDING, 0, None)


async def test_a_late_result_of_an_earlier_attempt_is_refused(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    (old,) = await kit.claim(INGEST_TOPIC)
    await kit.jobs.cancel(job_id)
    await kit.jobs.retry(job_id)
    (new,) = await kit.claim(INGEST_TOPIC)
    assert (await kit.settle(Done(old, reading(job_id, ["old"])))).refused == [old.message_id]
    assert not await kit.jobs.advance([(old, None)], model.Status.CHUNKING, 25)
    assert (await kit.settle(Done(new, reading(job_id, ["new"])))).refused == []
    assert await kit.rows("SELECT text FROM document_chunks") == [{"text": "new"}]


async def test_a_partial_document_stays_searchable_while_it_is_retried(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["keep", "same text"], broken_pages=1)
    await kit.embed()
    position = await kit.follow(position)
    job = await kit.jobs.get(job_id)
    assert (job.status, job.searchable) == (model.Status.PARTIAL, True)
    assert job.error is not None and job.error.code == "pages_failed" and job.failed_pages[0]["page"] == 3
    before = await kit.numbers(job_id)
    await kit.jobs.retry(job_id)
    assert len(await kit.chunks.passages(before)) == 2
    await kit.ingest(job_id, ["keep", "same text", "recovered"])
    after = await kit.numbers(job_id)
    assert after[:2] == before, "unchanged chunks keep their numbers"
    job = await kit.jobs.get(job_id)
    assert (job.status, job.processed_chunks, job.total_chunks) == (model.Status.EMBEDDING, 2, 3)
    assert len(await kit.chunks.passages(after)) == 2
    assert len(await kit.embed()) == 1, "and their vectors"
    await kit.follow(position)
    job = await kit.jobs.get(job_id)
    assert (job.status, job.failed_pages, job.error) == (model.Status.COMPLETED, [], None)


async def test_a_retry_that_changes_nothing_completes_without_embedding(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["a"], broken_pages=1)
    await kit.embed()
    await kit.follow(position)
    await kit.jobs.retry(job_id)
    await kit.ingest(job_id, ["a"])
    assert (await kit.jobs.get(job_id)).status == model.Status.COMPLETED
    assert await kit.rows("SELECT 1 FROM messages") == []


async def test_a_chunk_under_another_heading_is_embedded_again_under_a_new_number(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["a", "b"], broken_pages=1)
    await kit.embed()
    position = await kit.follow(position)
    before = await kit.numbers(job_id)
    await kit.jobs.retry(job_id)
    await kit.ingest(job_id, ["a", "b"], context="Other title")
    after = await kit.numbers(job_id)
    assert set(before).isdisjoint(after)
    await kit.changes.acknowledge(before)  # late, of what the index held before
    assert (await kit.jobs.get(job_id)).status == model.Status.EMBEDDING
    numbers, position = await kit.changes.since(position)
    assert set(before) <= set(numbers)
    assert (await kit.changes.read(before, kit.model_id)) == ([], sorted(before))


async def test_a_retry_whose_reading_fails_keeps_what_was_searchable(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["a", "b"], broken_pages=1)
    await kit.embed()
    await kit.follow(position)
    await kit.jobs.retry(job_id)
    (delivery,) = await kit.claim(INGEST_TOPIC)
    await kit.settle(*failed([delivery], errors.DamagedDocument()))
    job = await kit.jobs.get(job_id)
    assert (job.status, job.progress, job.searchable) == (model.Status.PARTIAL, 100, True)
    assert (job.total_chunks, job.processed_chunks, job.failed_chunks) == (2, 2, 0)
    assert job.error is not None and job.error.code == "damaged"
    assert len(await kit.chunks.passages(await kit.numbers(job_id))) == 2


async def test_delete_hides_at_once_and_leaves_only_a_tombstone(kit: Kit) -> None:
    job = await kit.searchable(["secret"], metadata={"who": "secret"}, idempotency_key="k", request_hash="h")
    numbers = await kit.numbers(job.job_id)
    position = await kit.position()
    await kit.jobs.delete(job.job_id)
    assert await kit.chunks.passages(numbers) == []
    assert (await kit.changes.since(position))[0] == numbers
    assert (await kit.changes.read(numbers, kit.model_id)) == ([], numbers)
    for call in (kit.jobs.get, kit.jobs.delete, kit.jobs.cancel, kit.jobs.retry):
        with pytest.raises(errors.JobNotFound):
            await call(job.job_id)
    with pytest.raises(errors.JobNotFound):
        await kit.pages.get(job.job_id, 1)
    (removal,) = await kit.claim(REMOVE_TOPIC)
    assert removal.job_id == job.job_id
    settled = await kit.settle(Done(removal, Removed()))
    assert (settled.refused, settled.changed) == ([], True)
    for table in ("document_chunks", "document_pages", "chunk_vectors", "idempotency_keys", "messages"):
        assert await kit.rows(f"SELECT 1 FROM {table}") == []
    (tombstone,) = await kit.rows("SELECT * FROM document_jobs")
    assert tombstone["purged_at"] is not None
    assert not [value for value in tombstone.values() if "secret" in str(value)]
    assert (tombstone["filename"], tombstone["object_key"], tombstone["sha256"]) == ("", "", "")
    assert (await kit.settle(Done(removal, Removed()))).refused == [removal.message_id]


async def test_delete_at_every_stage_refuses_what_comes_late(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    (delivery,) = await kit.claim(INGEST_TOPIC)
    await kit.jobs.delete(job_id)
    assert (await kit.settle(Done(delivery, reading(job_id, ["x"])))).refused == [delivery.message_id]
    assert await kit.rows("SELECT 1 FROM document_chunks") == []
    other = (await kit.accept()).job.job_id
    await kit.ingest(other, ["x"])
    (chunk,) = await kit.claim(CHUNK_TOPIC)
    await kit.jobs.delete(other)
    assert (await kit.settle(Done(chunk, embedded()))).refused == [chunk.message_id]
    assert await kit.rows("SELECT 1 FROM chunk_vectors") == []


async def test_status_and_progress_never_go_back(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    (delivery,) = await kit.claim(INGEST_TOPIC)
    assert await kit.jobs.advance([(delivery, None)], model.Status.CHUNKING, 25)
    assert await kit.jobs.advance([(delivery, None)], model.Status.PROCESSING, 3)
    job = await kit.jobs.get(job_id)
    assert (job.status, job.progress) == (model.Status.CHUNKING, 25)
    await kit.messages.release([delivery])
    (again,) = await kit.claim(INGEST_TOPIC)  # begun anew, the job stays where it was
    assert (await kit.jobs.get(job_id)).status == model.Status.CHUNKING
    assert not await kit.jobs.advance([(delivery, None)], model.Status.CHUNKING, 26), "the old lease reports nothing"
    await kit.settle(Done(again, reading(job_id, ["x"])))
    for statement in ("status = 'pending'", "status = 'chunking'", "attempt = 0"):
        with pytest.raises(errors.BrokenInvariant, match="cannot go"):
            await kit.run(f"UPDATE document_jobs SET {statement}")
    await kit.run("UPDATE document_jobs SET progress = 2")
    assert (await kit.jobs.get(job_id)).progress == 30


async def test_accepting_fails_as_unavailable_when_the_server_is_away(kit: Kit) -> None:
    await kit.db.close()
    with pytest.raises(errors.Unavailable):
        await kit.jobs.accept(new_job())
