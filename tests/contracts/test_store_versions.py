"""New versions of a document: queries find one version at every moment, and the newest that was asked for wins."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from datadistiller import errors
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC, REMOVE_TOPIC, Done, Failed, Removed
from datadistiller.store.audit import Audit
from datadistiller.store.jobs import Accepted
from datadistiller.store.reports import Reports
from datadistiller.store.versions import NewVersion, Versions
from tests.contracts.store_kit import Kit, failed, reading


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


async def put(kit: Kit, job_id: UUID, content: str, **changes: Any) -> Accepted:
    """A changed file for a document."""
    values: dict[str, Any] = {
        "job_id": job_id, "filename": "changed.txt", "media_type": "text/plain", "file_size": len(content),
        "sha256": digest(content), "object_key": f"uploads/{job_id}/{content}/changed.txt", "lane": None,
        "metadata": None, "request_hash": content,
    }  # fmt: skip
    return await Versions(kit.db, kit.jobs).accept(NewVersion(**{**values, **changes}))


async def ingest(kit: Kit, job_id: UUID, texts: list[str]) -> None:
    """Reads the version that is next, as the stage does."""
    [delivery] = await kit.claim(INGEST_TOPIC)
    job = (await kit.jobs.to_read([job_id]))[job_id]
    result = reading(job.chunks_id, texts)
    assert not (await kit.settle(Done(delivery, result))).refused


async def found(kit: Kit, job_id: UUID) -> list[str]:
    """What queries see of a document if the index gives all its chunks, and what is of it in the index besides."""
    passages = await kit.chunks.passages(await kit.numbers(job_id))
    return sorted(passage.text for passage in passages)


async def live(kit: Kit) -> int:
    """How many chunks belong in the index."""
    return len((await kit.changes.live(kit.model_id)).chunks)


async def retired(kit: Kit) -> list[str]:
    return [key.split("/")[2] for key in await kit.inspection.retired_objects(10)]


async def compared(kit: Kit, keys: list[str]) -> tuple[list[str], list[str]]:
    """Which files 'doctor --deep' misses and which are too many, if these are there; the index must agree too."""
    assert await Audit(kit.db).live(0, 100) == (await kit.changes.live(kit.model_id)).chunks
    now = datetime.now(UTC) + timedelta(days=1)
    async with Audit(kit.db).listing() as listing:
        await listing.add([(key, 10 if key.endswith("report.txt") else 2, now) for key in keys])
        missing, orphaned = await listing.missing(now, 10), await listing.orphaned(now + timedelta(1), 10)
    return sorted(missing), orphaned


async def test_the_switch_is_one_step_and_unchanged_texts_keep_their_vectors(kit: Kit) -> None:
    job = await kit.searchable(["alpha", "beta"], metadata={"year": 2024})
    position = await kit.position()
    accepted = await put(kit, job.job_id, "v2")
    assert (accepted.job.job_id, accepted.job.status, accepted.duplicate) == (job.job_id, "pending", False)
    await ingest(kit, job.job_id, ["alpha", "gamma"])
    assert (await kit.pages.get(job.job_id, 2)).text == "beta"
    assert len(await kit.embed()) == 1  # gamma: alpha has its vector
    assert await found(kit, job.job_id) == ["alpha", "beta"] and await live(kit) == 4
    state = await kit.jobs.get(job.job_id)
    assert (state.version, state.filename, state.total_chunks) == (1, "report.txt", 2)
    assert state.next is not None and state.next.version == 2
    report = await Reports(kit.db).of(job.job_id)
    assert (report.version, report.vectors_computed, report.vectors_found) == (2, 1, 1)
    keys = [job.object_key, state.next.object_key]
    assert await compared(kit, keys) == ([], [])
    assert await compared(kit, []) == (sorted(keys), [])
    await kit.follow(position)
    assert await compared(kit, keys) == ([], [])  # the old one is the sweeper's
    assert await found(kit, job.job_id) == ["alpha", "gamma"] and await live(kit) == 2
    done = await kit.jobs.get(job.job_id)
    assert (done.status, done.version, done.next, done.filename) == ("completed", 2, None, "changed.txt")
    assert (done.sha256, done.metadata, done.page_count) == (digest("v2"), {"year": 2024}, 2)
    assert (await kit.pages.get(job.job_id, 2)).text == "gamma"
    assert await retired(kit) == [job.object_key.split("/")[2]]
    assert await Audit(kit.db).broken() == []


async def test_a_version_that_cannot_be_read_leaves_the_one_before(kit: Kit) -> None:
    job = await kit.searchable(["alpha"])
    position = await kit.position()
    await put(kit, job.job_id, "v2")
    [delivery] = await kit.claim(INGEST_TOPIC)
    await kit.settle(Failed(delivery, errors.DamagedDocument("It is damaged.")))
    state = await kit.jobs.get(job.job_id)
    assert (state.status, state.searchable, state.total_chunks, state.version) == ("partial", True, 1, 1)
    assert state.error is not None
    assert state.error.code == "damaged"
    assert state.error.message == "Version 2: It is damaged. Version 1 stays searchable."
    assert await found(kit, job.job_id) == ["alpha"]
    assert await Audit(kit.db).broken() == []
    await kit.jobs.retry(job.job_id)  # of the version that failed
    await ingest(kit, job.job_id, ["beta"])
    await kit.embed()
    await kit.follow(position)
    assert await found(kit, job.job_id) == ["beta"]


async def test_a_version_of_which_nothing_can_be_embedded_leaves_the_one_before(kit: Kit) -> None:
    job = await kit.searchable(["alpha"])
    await put(kit, job.job_id, "v2")
    await ingest(kit, job.job_id, ["beta", "gamma"])
    await kit.settle(*failed(await kit.claim(CHUNK_TOPIC), errors.PermanentError("No.")))
    state = await kit.jobs.get(job.job_id)
    assert (state.status, state.searchable, state.total_chunks, state.failed_chunks) == ("partial", True, 1, 0)
    assert state.error is not None and state.error.code == "chunks_failed"
    assert await found(kit, job.job_id) == ["alpha"]
    assert await Audit(kit.db).broken() == []


async def test_the_newer_wins_and_the_older_is_refused(kit: Kit) -> None:
    job = await kit.searchable(["alpha"])
    position = await kit.position()
    await put(kit, job.job_id, "v2")
    [late] = await kit.claim(INGEST_TOPIC)
    accepted = await put(kit, job.job_id, "v3")
    assert accepted.job.next is not None and accepted.job.next.version == 3
    assert (await kit.settle(Done(late, reading(job.job_id, ["beta"])))).refused == [late.message_id]
    await ingest(kit, job.job_id, ["gamma"])
    [later] = await kit.claim(CHUNK_TOPIC)
    await put(kit, job.job_id, "v4")
    assert (await kit.settle(*failed([later], errors.PermanentError("No.")))).refused == [later.message_id]
    assert await found(kit, job.job_id) == ["alpha"] and await live(kit) == 1
    await ingest(kit, job.job_id, ["delta"])
    await kit.embed()
    await kit.follow(position)
    assert await found(kit, job.job_id) == ["delta"]
    assert (await kit.jobs.get(job.job_id)).version == 4
    assert set(await retired(kit)) == {"v2", "v3", "report.txt"}


async def test_a_version_of_a_document_that_was_never_searchable(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["alpha", "beta"])
    [first, _] = await kit.claim(CHUNK_TOPIC)
    await put(kit, job_id, "v2")
    assert (await kit.settle(*failed([first], errors.PermanentError("No.")))).refused
    await ingest(kit, job_id, ["beta", "gamma"])
    while await kit.embed():
        pass
    await kit.follow(position)
    assert await found(kit, job_id) == ["beta", "gamma"]
    assert (await kit.jobs.get(job_id)).status == "completed"
    assert await Audit(kit.db).broken() == []


async def test_cancelling_calls_it_off_and_a_retry_goes_on(kit: Kit) -> None:
    job = await kit.searchable(["alpha"])
    position = await kit.position()
    await put(kit, job.job_id, "v2")
    await ingest(kit, job.job_id, ["beta", "gamma"])
    await kit.embed(1)
    position = await kit.follow(position)  # one of two is in the index
    assert await live(kit) == 2
    assert (await kit.jobs.cancel(job.job_id)).searchable
    assert await found(kit, job.job_id) == ["alpha"] and await live(kit) == 1
    await kit.jobs.retry(job.job_id)
    await ingest(kit, job.job_id, ["beta", "gamma"])
    assert len(await kit.embed()) == 1
    await kit.follow(position)
    assert await found(kit, job.job_id) == ["beta", "gamma"]
    assert await Audit(kit.db).broken() == []


async def test_a_delete_takes_all_versions(kit: Kit) -> None:
    job = await kit.searchable(["alpha"])
    await put(kit, job.job_id, "v2", metadata={"secret": 1})
    await ingest(kit, job.job_id, ["beta"])
    [delivery] = await kit.claim(CHUNK_TOPIC)
    await kit.jobs.delete(job.job_id)
    assert await found(kit, job.job_id) == [] and await live(kit) == 0
    assert (await kit.settle(*failed([delivery], errors.PermanentError("No.")))).refused
    [removal] = await kit.claim(REMOVE_TOPIC)
    await kit.settle(Done(removal, Removed()))
    [row] = await kit.rows("SELECT next, metadata FROM document_jobs WHERE job_id = %s", job.job_id)
    assert row == {"next": None, "metadata": {}}
    assert await Audit(kit.db).broken() == []
    with pytest.raises(errors.JobNotFound):
        await put(kit, job.job_id, "v3")


async def test_the_same_bytes_change_nothing(kit: Kit) -> None:
    job = await kit.searchable(["alpha"], content="v1")
    again = await put(kit, job.job_id, "v1")
    assert again.duplicate and again.job.attempt == 1 and again.job.status == "completed"
    await put(kit, job.job_id, "v2")
    again = await put(kit, job.job_id, "v2")
    assert again.duplicate and again.job.attempt == 2
    [delivery] = await kit.claim(INGEST_TOPIC)
    await kit.settle(Failed(delivery, errors.DamagedDocument()))
    again = await put(kit, job.job_id, "v2")  # it failed: once more
    assert again.duplicate and (again.job.attempt, again.job.status) == (3, "pending")
    assert await retired(kit) == []


async def test_the_bytes_that_queries_find_call_off_what_is_under_way(kit: Kit) -> None:
    job = await kit.searchable(["alpha"], content="v1")
    position = await kit.position()
    await put(kit, job.job_id, "v2")
    back = await put(kit, job.job_id, "v1")
    assert back.duplicate and back.job.next is None and await retired(kit) == ["v2"]
    await ingest(kit, job.job_id, ["alpha"])
    assert await kit.embed() == []
    await kit.follow(position)
    done = await kit.jobs.get(job.job_id)
    assert (done.status, done.version, done.sha256) == ("completed", 1, digest("v1"))


async def test_who_is_late_is_told(kit: Kit) -> None:
    job = await kit.searchable(["alpha"], content="v1")
    await put(kit, job.job_id, "v2", expected=frozenset([digest("v0"), digest("v1")]))
    with pytest.raises(errors.VersionChanged):
        await put(kit, job.job_id, "v3", expected=frozenset([digest("v1")]), idempotency_key="k")
    await put(kit, job.job_id, "v3", expected=frozenset([digest("v2")]), idempotency_key="k")
    replayed = await put(kit, job.job_id, "v3", expected=frozenset([digest("v2")]), idempotency_key="k")
    assert replayed.replayed and replayed.job.attempt == 3
    with pytest.raises(errors.IdempotencyMismatch):
        await put(kit, job.job_id, "v4", idempotency_key="k")


async def test_uploads_find_the_bytes_of_later_versions_too(kit: Kit) -> None:
    first = await kit.searchable(["alpha"], content="v1")
    second = await kit.searchable(["other"], content="x")
    position = await kit.position()
    await put(kit, first.job_id, "x")  # the bytes of another document
    await ingest(kit, first.job_id, ["other"])
    await kit.follow(position)
    assert [(await kit.jobs.get(job.job_id)).sha256 for job in (first, second)] == [digest("x")] * 2
    assert (await kit.accept(content="x")).job.job_id == first.job_id
    assert not (await kit.accept(content="v1")).duplicate  # nobody has these any more
