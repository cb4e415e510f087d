"""The report of a document: what is noted with its reading, what is counted when it is asked for, its attempts."""

from __future__ import annotations

import dataclasses
import json
from uuid import uuid4

import pytest

from datadistiller import errors, model
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC, REMOVE_TOPIC, Done, Embedded, Failed, Removed, Spent
from datadistiller.store.reports import Reports
from tests.contracts.store_kit import Kit, embedded, reading

GUESSED = model.Problem("encoding_guessed", "It was read as windows-1251.", "Save it as UTF-8.")


async def test_what_reading_took_and_gave(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    [delivery] = await kit.claim(INGEST_TOPIC)
    result = reading(job_id, ["the secret", "of geese"], broken_pages=1)
    pages = [*result.document.pages, model.Page(4, "seen", recognised=True), model.Page(5, " ")]
    document = dataclasses.replace(result.document, pages=pages, warnings=(GUESSED,), encoding="windows-1251")
    spent = Spent(bytes=77, parse_seconds=1.25, chunk_seconds=0.5)
    await kit.settle(Done(delivery, dataclasses.replace(result, document=document, spent=spent)))
    report = await Reports(kit.db).of(job_id)
    assert report.reading is not None
    assert {
        "attempt": 1, "parser": "test", "encoding": "windows-1251", "pages": 5, "pages_text": 2,
        "pages_recognised": 1, "pages_empty": 1, "pages_failed": 1, "chunks": 2, "tokens": 10, "characters": 23,
        "warnings": [GUESSED.as_json()],
    }.items() <= report.reading.items()  # fmt: skip
    assert [(stage.stage, stage.bytes) for stage in report.stages] == [("wait", None), ("parse", 77), ("chunk", 23)]
    assert [stage.seconds for stage in report.stages[1:]] == [1.25, 0.5]
    assert [page["page"] for page in report.failed_pages] == [3]
    assert "secret" not in json.dumps(dataclasses.asdict(report), default=str)


async def test_vectors_are_computed_or_found(kit: Kit) -> None:
    await kit.searchable(["alpha"])
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["alpha", "beta", "gamma"])
    deliveries = await kit.claim(CHUNK_TOPIC)
    assert len(deliveries) == 3
    results = [Embedded(embedded(n).vector, found=n == 0) for n in range(3)]
    await kit.settle(*[Done(d, result) for d, result in zip(deliveries, results, strict=True)])
    await kit.follow(position)
    report = await Reports(kit.db).of(job_id)
    assert (report.vectors_computed, report.vectors_found) == (2, 1)
    assert [stage.stage for stage in report.stages] == ["wait", "parse", "chunk", "embed", "index"]
    assert report.stages[3].bytes == 3 * 8
    assert [step.status for step in report.attempts[0].steps] == ["pending", "processing", "embedding", "completed"]


async def test_earlier_attempts_stay_with_their_reasons(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    [delivery] = await kit.claim(INGEST_TOPIC)
    await kit.settle(Failed(delivery, errors.DamagedDocument("It is damaged.")))
    await kit.jobs.retry(job_id)
    await kit.ingest(job_id, ["alpha"])
    report = await Reports(kit.db).of(job_id)
    assert [[(s.status, s.code) for s in attempt.steps] for attempt in report.attempts] == [
        [("pending", None), ("processing", None), ("failed", "damaged")],
        [("pending", None), ("processing", None), ("embedding", None)],
    ]
    assert report.reading is not None and report.reading["attempt"] == 2


async def test_a_later_failure_leaves_what_was_read(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["alpha"], broken_pages=1)
    await kit.embed()
    await kit.follow(position)
    await kit.jobs.retry(job_id)
    [delivery] = await kit.claim(INGEST_TOPIC)
    await kit.settle(Failed(delivery, errors.ParserCrashed()))
    report = await Reports(kit.db).of(job_id)
    assert report.reading is not None and report.reading["attempt"] == 1
    assert [stage.stage for stage in report.stages] == ["wait"]


async def test_a_document_without_text_has_a_report(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    [delivery] = await kit.claim(INGEST_TOPIC)
    pages = [model.Page(1, ""), model.Page(2, " ")]
    nothing = dataclasses.replace(reading(job_id, []), document=model.ParsedDocument(pages, "", "pdf", "x/y"))
    await kit.settle(Failed(delivery, errors.NoText(), nothing))
    report = await Reports(kit.db).of(job_id)
    assert report.status == "failed" and report.error is not None and report.error.code == "no_text"
    assert report.reading is not None and report.reading["pages_empty"] == 2


async def test_nothing_is_left_of_a_deleted_document(kit: Kit) -> None:
    job = await kit.searchable(["alpha"])
    await kit.jobs.delete(job.job_id)
    for job_id in (job.job_id, uuid4()):
        with pytest.raises(errors.JobNotFound):
            await Reports(kit.db).of(job_id)
    [delivery] = await kit.claim(REMOVE_TOPIC)
    await kit.settle(Done(delivery, Removed()))
    [row] = await kit.rows("SELECT report FROM document_jobs WHERE job_id = %s", job.job_id)
    assert row["report"] is None
