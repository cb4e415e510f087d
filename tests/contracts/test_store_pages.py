"""Pages as they are kept: where their lines stand, which chunks are on them, and which pages there are not."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from datadistiller import errors, model
from datadistiller.messages import INGEST_TOPIC, Done, Ingested
from tests.contracts.store_kit import Kit, reading

SIZE = (595.0, 842.0)
TEXTS = ["first page", "second page", "third page"]


def located(job_id: UUID) -> Ingested:
    """Three pages of a line each, the last one read from a picture, and one without geometry."""
    found = reading(job_id, [*TEXTS, "fourth page"])
    line = model.Line(0, 10, 59.5, 84.2, 297.5, 168.4)
    pages = [
        replace(page, size=SIZE, lines=[line], recognised=page.number == 3) if page.number < 4 else page
        for page in found.document.pages
    ]
    return replace(found, document=replace(found.document, pages=pages))


async def test_the_lines_of_a_page_are_kept_and_cited(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    (delivery,) = await kit.claim(INGEST_TOPIC)
    await kit.settle(Done(delivery, located(job_id)))
    await kit.embed()
    await kit.follow(position)
    page = await kit.pages.get(job_id, 3)
    assert (page.text, page.label, page.size, page.recognised) == (TEXTS[2], "p3", SIZE, True)
    (line,) = page.lines
    assert (line.start, line.end) == (0, 10)
    assert [line.left, line.top, line.right, line.bottom] == pytest.approx([59.5, 84.2, 297.5, 168.4], abs=0.1)
    bare = await kit.pages.get(job_id, 4)
    assert (bare.size, list(bare.lines), bare.recognised) == (None, [], False)

    (chunk,) = await kit.pages.chunks(job_id, 3)
    assert (chunk.ordinal, chunk.start, chunk.end, chunk.status) == (2, 0, 10, model.ChunkStatus.INDEXED)
    assert await kit.pages.chunks(job_id, 9) == []

    numbers = await kit.numbers(job_id)
    passages = await kit.chunks.passages([numbers[2], 10**9, numbers[0], numbers[1], numbers[3]], located=2)
    assert [len(passage.lines) for passage in passages] == [1, 1, 0, 0], "those of the first that were found"
    assert [passage.page for passage in passages] == [3, 1, 2, 4]
    assert passages[0].lines == page.lines
    assert [(p.page_size, p.recognised, p.media_type) for p in passages[::3]] == [
        (SIZE, True, "text/plain"), (None, False, "text/plain"),
    ]  # fmt: skip


async def test_a_page_that_is_not_there_is_explained(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    with pytest.raises(errors.PageNotFound, match="has not been read yet: it is pending"):
        await kit.pages.get(job_id, 1)
    await kit.ingest(job_id, ["one"])
    with pytest.raises(errors.PageNotFound, match=r"has 1 page; there is no page 2\."):
        await kit.pages.get(job_id, 2)
    await kit.jobs.delete(job_id)
    for unknown in (job_id, uuid4()):
        with pytest.raises(errors.JobNotFound):
            await kit.pages.get(unknown, 1)
    failed = (await kit.accept()).job.job_id
    await kit.jobs.cancel(failed)
    with pytest.raises(errors.PageNotFound, match="has no pages: it is cancelled"):
        await kit.pages.get(failed, 1)
