"""The pages of a document: their text and where it stands, and their pictures with a place marked."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from datadistiller import cells, errors, model
from datadistiller.api import links, problems, schemas
from datadistiller.api.parts import JobId, Parts
from datadistiller.parsing import drawing, formats
from datadistiller.query import places
from datadistiller.runtime.pictures import Picture

HIGHLIGHT_PATTERN = r"^[0-9]{1,9},[0-9]{1,9}$"
PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
#: Part of every ETag: changed when the same page would be drawn otherwise.
DRAWING_VERSION = 1
#: Kept by the browser, but asked for each time: a deleted document is gone at once.
CACHING = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}

Number = Annotated[int, Path(ge=1, le=1_000_000, description="From 1.")]

router = APIRouter(prefix="/api/v2/documents", tags=["documents"])


@router.get(
    "/{job_id}/pages/{page}.png",
    operation_id="get_page_image",
    summary="The picture of a page, with a place marked",
    response_class=Response,
    responses={
        200: {"description": "The picture.", "content": PNG},
        304: {"description": "Unchanged since If-None-Match."},
        **problems.documented(
            errors.JobNotFound,
            errors.PageNotFound,
            errors.NoPicture,
            errors.Conflict,
            errors.CapacityError,
            errors.ObjectMissing,
        ),
    },
)
async def get_page_image(
    job_id: JobId,
    page: Number,
    parts: Parts,
    highlight: Annotated[
        str | None,
        Query(pattern=HIGHLIGHT_PATTERN, description="`start,end` of a citation or a sentence.", examples=["120,480"]),
    ] = None,
    width: Annotated[int, Query(ge=16, le=2000, description="Pixels; less if the page is very long.")] = 1000,
    if_none_match: Annotated[str | None, Header(description="ETag of a copy the client has.")] = None,
) -> Response:
    """PDF pages as they are shown. Other formats have no pages to look at: 404 says where their text is."""
    job = await parts.jobs.get(job_id)
    found = await parts.pages.get(job_id, page)
    if not drawing.drawable(job.media_type):
        form = formats.BY_MEDIA_TYPE.get(job.media_type)
        raise errors.NoPicture(f"A document of the type {form.name if form else job.media_type} has no picture.")
    wanted = Picture(job.media_type, page, width, _marks(found, highlight))
    headers = {**CACHING, "ETag": _etag(job, wanted)}
    if if_none_match is not None and headers["ETag"] in if_none_match:
        return Response(status_code=304, headers=headers)
    made = await parts.pictures.draw(wanted, parts.objects.local_path(job.object_key))
    await parts.jobs.get(job_id)  # it may have been deleted while others were drawn
    return Response(made, headers=headers, media_type="image/png")


@router.get(
    "/{job_id}/pages/{page}",
    operation_id="get_page",
    summary="The parsed text of a page, and where it stands",
    responses=problems.documented(errors.JobNotFound, errors.PageNotFound),
)
async def get_page(job_id: JobId, page: Number, parts: Parts) -> schemas.Page:
    """Citations point into this text: `text[start:end]`, in Unicode code points."""
    job = await parts.jobs.get(job_id)
    found = await parts.pages.get(job_id, page)
    width, height = found.size or (None, None)
    chunks = await parts.pages.chunks(job_id, page)
    return schemas.Page(
        job_id=job_id,
        page=found.number,
        label=found.label,
        place=places.words(job.media_type, found.number, found.label),
        text=found.text,
        problem=next((schemas.JobError(**p) for p in job.failed_pages if p["page"] == found.number), None),
        recognised=found.recognised,
        width=width,
        height=height,
        lines=[
            schemas.PageLine(start=line.start, end=line.end, rect=(line.left, line.top, line.right, line.bottom))
            for line in found.lines
        ],
        cells=[
            schemas.PageCells(start=one.start, end=one.end, range=cells.name([one]))
            for chunk in chunks
            for one in chunk.cells
        ],
        chunks=[schemas.PageChunk.model_validate(chunk, from_attributes=True) for chunk in chunks],
        image_url=links.image(job_id, page, job.media_type),
    )


def _marks(page: model.Page, highlight: str | None) -> list[drawing.Mark]:
    """Where the characters of the highlight stand, in parts of the page."""
    if highlight is None:
        return []
    start, end = (int(number) for number in highlight.split(","))
    if not start < end <= len(page.text):
        raise errors.InvalidRequest(
            f"The highlight is {start},{end}; it must be start,end with 0 <= start < end <= {len(page.text)}, "
            f"the characters of page {page.number}."
        )
    if page.size is None or not page.lines:
        raise errors.Conflict(
            f"It is not known where the text of page {page.number} stands: an earlier version read the document.",
            hint="Delete the document and upload it again, or leave the highlight out.",
        )
    rects = places.rectangles(page.lines, start, end, page.text[start:end])
    return [drawing.mark(rect, *page.size) for rect in rects]


def _etag(job: model.Job, wanted: Picture) -> str:
    what = f"{DRAWING_VERSION} {job.sha256} {wanted.page} {wanted.width} {wanted.marks}"
    return f'"{hashlib.sha256(what.encode()).hexdigest()[:32]}"'
