"""PUT /api/v2/documents/{job_id}: a changed file becomes a new version of a document."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from datadistiller import errors, model
from datadistiller.api import checks, problems, schemas
from datadistiller.api.multipart import Form
from datadistiller.api.parts import Gate, JobId, Parts
from datadistiller.api.upload import REFUSALS, IdempotencyKey, Lingering, announced, lane_of, metadata_of, read_fields
from datadistiller.stages.replace import Change
from datadistiller.store.jobs import Accepted

FIELDS = ("metadata", "priority", "password")
#: What `GET .../content` gives as ETag: SHA-256 in quotes.
_ETAG = re.compile(r'"([0-9a-f]{64})"')

router = APIRouter(prefix="/api/v2/documents", tags=["documents"])


class VersionForm(BaseModel):
    """The form of a new version. Fields may come in any order; what is left out stays as it was."""

    model_config = ConfigDict(extra="forbid")

    file: bytes = Field(
        description="The changed document.",
        json_schema_extra={"type": "string", "format": "binary", "minLength": 1},
    )
    metadata: str = Field(
        description="A JSON object, as in an upload.",
        examples=['{"year": 2025}'],
        json_schema_extra={"contentMediaType": "application/json", "format": "json-object"},
    )
    priority: schemas.Priority
    password: str = Field(max_length=schemas.MOST_PASSWORD_CHARS, description=schemas.PASSWORD_HELP)


class VersionAccepted(schemas.UploadAccepted):
    """The changed file is stored and will be processed; queries find the version before until it is complete."""

    version: int = Field(description="The number of the version with these bytes.", ge=1, examples=[2])


@router.put(
    "/{job_id}",
    operation_id="replace_document",
    summary="Give a document a new version",
    status_code=202,
    response_model=VersionAccepted,
    responses=problems.documented(errors.JobNotFound, errors.Conflict, errors.VersionChanged, *REFUSALS),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/VersionForm"}}},
        }
    },
)
async def replace_document(
    request: Request,
    response: Response,
    job_id: JobId,
    parts: Parts,
    gate: Gate,
    idempotency_key: IdempotencyKey = None,
    if_match: Annotated[
        str | None,
        Header(description="The ETag of the newest version, as PUT and content give it; if it is another, 412."),
    ] = None,
) -> VersionAccepted | Response:
    """Takes the changed file in at once; queries find the version before until the new one is complete, then only that.

    If it fails, they go on finding the one before, and the status says so. Of two that come one after the other the
    newer wins. The same bytes as the newest version's change nothing.
    """
    form: Form | None = None
    try:
        await parts.jobs.get(job_id)  # before anything is sent
        async with gate.admit(announced(request)):
            form = Form(request.headers.get("content-type", ""), aiter(request.stream()))
            filename = await form.open_file()
            change = partial(_change, form, idempotency_key, if_match)
            accepted = await parts.replace(job_id, filename, form.content(), change)
    except errors.DataDistillerError as error:
        refused = problems.of_error(request, error)
        return refused if form is not None and form.ended else Lingering(refused)
    return _answer(accepted, response)


async def _change(form: Form, idempotency_key: str | None, if_match: str | None) -> Change:
    """Reads the fields that follow the file, and checks all of them."""
    fields = await read_fields(form, FIELDS)
    return Change(
        metadata=metadata_of(fields["metadata"]) if fields.get("metadata") else None,
        lane=lane_of(fields["priority"]) if fields.get("priority") else None,
        idempotency_key=idempotency_key,
        expected=None if if_match is None or if_match.strip() == "*" else frozenset(_ETAG.findall(if_match)),
        password=checks.password(fields.get("password", "")),
    )


def _answer(accepted: Accepted, response: Response) -> VersionAccepted:
    newest = accepted.job.newest
    response.headers["Location"] = f"/api/v2/documents/status/{accepted.job.job_id}"
    response.headers["ETag"] = f'"{newest.sha256}"'
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return VersionAccepted(
        job_id=accepted.job.job_id,
        status=model.Status.PENDING if accepted.replayed else accepted.job.status,
        message="New version accepted",
        filename=newest.filename,
        file_size=newest.file_size,
        collection=accepted.job.collection,
        duplicate=accepted.duplicate,
        version=newest.version,
    )
