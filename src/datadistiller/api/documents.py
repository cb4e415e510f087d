"""The documents: list, content, cancel, retry, delete."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import RedirectResponse, StreamingResponse

from datadistiller import errors, model, wiring
from datadistiller.api import checks, problems, schemas
from datadistiller.api.parts import JobId, Parts

#: A stored HTML file must not run as a page of this server.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Accept-Ranges": "bytes",
}
#: So that the address of a request stays shorter than what proxies take.
MOST_IDS = 100
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

router = APIRouter(prefix="/api/v2/documents", tags=["documents"])


@router.get("", operation_id="list_documents", summary="List documents", responses=problems.documented())
async def list_documents(
    parts: Parts,
    status: Annotated[model.Status | None, Query(description="Only those in this status.")] = None,
    collection: Annotated[
        str | None, Query(pattern=schemas.COLLECTION_PATTERN, description="Only those of this collection.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="How many at most.")] = 50,
    cursor: schemas.Cursor = None,
    job_id: Annotated[
        list[UUID] | None,
        Query(max_length=MOST_IDS, description="Only these, all in one answer; repeat it for each."),
    ] = None,
    parent: Annotated[UUID | None, Query(description="Only those that lie in this document.")] = None,
) -> schemas.JobList:
    """Newest first. To watch many documents, ask for them together by their `job_id`."""
    if job_id:
        some = await parts.jobs.several(job_id, status, collection)
        return schemas.JobList(jobs=[schemas.JobStatus.of(job) for job in some], next_cursor=None)
    found, following = await parts.jobs.list(status, collection, limit, cursor, parent)
    return schemas.JobList(jobs=[schemas.JobStatus.of(job) for job in found], next_cursor=following)


@router.head("/{job_id}/content", include_in_schema=False)
@router.get(
    "/{job_id}/content",
    operation_id="get_content",
    summary="The original file",
    response_class=Response,
    responses={
        200: {"description": "The bytes as they were uploaded.", "content": BINARY},
        206: {"description": "The range asked for.", "content": BINARY},
        304: {"description": "Unchanged since If-None-Match."},
        307: {"description": "The bytes are at Location, for a short time, without a key."},
        **problems.documented(
            errors.JobNotFound, errors.VersionNotFound, errors.RangeNotSatisfiable, errors.ObjectMissing
        ),
    },
)
async def get_content(
    request: Request,
    job_id: JobId,
    parts: Parts,
    wanted_range: Annotated[
        str | None, Header(alias="Range", description="One range of bytes, for example `bytes=0-1023`.")
    ] = None,
    if_range: Annotated[str | None, Header(description="The range is given only if the ETag is still this.")] = None,
    if_none_match: Annotated[str | None, Header(description="ETag of a copy the client has.")] = None,
    version: Annotated[int | None, Query(ge=1, description="Of this version; if not, of the one queries find.")] = None,
) -> Response:
    """Always as an attachment, never to be shown by a browser as a page of this server."""
    job = _version(await parts.jobs.get(job_id), version)
    etag = f'"{job.sha256}"'
    headers = {**SAFE_HEADERS, "ETag": etag, "Content-Disposition": disposition(job.filename)}
    if if_none_match is not None and etag in if_none_match:
        return Response(status_code=304, headers=headers)
    size = await parts.objects.size(job.object_key)
    elsewhere = await _link(parts, job)
    if elsewhere is not None:
        return RedirectResponse(elsewhere, headers={"Cache-Control": "no-store"})
    try:
        wanted = byte_range(wanted_range, size) if if_range in (None, etag) else None
    except errors.RangeNotSatisfiable as error:
        refused = problems.of_error(request, error)
        refused.headers["Content-Range"] = f"bytes */{size}"
        return refused
    start, end = wanted or (0, size)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    if request.method == "HEAD":
        return Response(status_code=206 if wanted else 200, headers=headers, media_type=job.media_type)
    body = parts.objects.get(job.object_key, start, end) if end > start else _nothing()
    return StreamingResponse(body, 206 if wanted else 200, headers, media_type=job.media_type)


def _version(job: model.Job, number: int | None) -> model.Job | model.NextVersion:
    """Raises VersionNotFound."""
    if number in (None, job.version):
        return job
    if job.next is not None and job.next.version == number:
        return job.next
    raise errors.VersionNotFound(f"Document {job.job_id} has no version {number}, or not any more.")


async def _link(parts: wiring.ApiParts, job: model.Job | model.NextVersion) -> str | None:
    """Where the client may fetch the bytes from the store itself; None if they go through here."""
    seconds = parts.settings.presigned_seconds
    if not seconds:
        return None
    return await parts.objects.link(job.object_key, seconds, job.media_type, disposition(job.filename))


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_document",
    summary="Stop the work on a document",
    responses=problems.documented(errors.JobNotFound, errors.Conflict),
)
async def cancel_document(job_id: JobId, parts: Parts) -> schemas.JobStatus:
    """Work stops within seconds, on what came in it too; what was searchable before stays so."""
    return schemas.JobStatus.of(await parts.jobs.cancel(job_id))


@router.post(
    "/{job_id}/retry",
    operation_id="retry_document",
    summary="Process a document again",
    status_code=202,
    responses=problems.documented(errors.JobNotFound, errors.Conflict),
)
async def retry_document(job_id: JobId, parts: Parts, again: schemas.Again | None = None) -> schemas.JobStatus:
    """Starts a new attempt of a failed, partial or cancelled document, and of what in it failed or was cancelled.

    Of what is in it also if the document itself is completed.

    With the password of its file, if it has one.
    """
    await parts.jobs.retry(job_id, checks.password(again.password) if again else None)
    return schemas.JobStatus.of(await parts.jobs.get(job_id))


@router.delete(
    "/{job_id}",
    operation_id="delete_document",
    summary="Delete a document",
    status_code=204,
    response_class=Response,
    responses=problems.documented(errors.JobNotFound),
)
async def delete_document(job_id: JobId, parts: Parts) -> Response:
    """Gone from every answer when this returns, with what came in it and in nothing else; its bytes, chunks and
    vectors are purged in the background."""
    await parts.jobs.delete(job_id)
    return Response(status_code=204)


def disposition(filename: str) -> str:
    """``attachment`` with the name in ASCII for old clients, and exactly as RFC 6266 / RFC 5987 have it."""
    plain = re.sub(r'[^ -~]|["\\%]', "_", filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open range asked for; None if it is not a single one (then all is sent, as RFC 9110 14.2 allows).

    Raises RangeNotSatisfiable.
    """
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header or "")
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            return None
    if start >= end:
        raise errors.RangeNotSatisfiable(f"The file has {size} bytes; the range asked for lies outside.")
    return start, end


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
