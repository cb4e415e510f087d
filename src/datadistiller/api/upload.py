"""POST /api/v2/documents/upload: the body is streamed to the object store, one transaction is written."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from datadistiller import errors, model
from datadistiller.api import checks, problems, schemas
from datadistiller.api.multipart import MAX_FIELD_BYTES, Form
from datadistiller.api.parts import Gate, Parts
from datadistiller.stages.accept import Details
from datadistiller.store.jobs import Accepted

FIELDS = ("collection", "metadata", "priority", "password")
#: How long the rest of a refused body is read and dropped, seconds. Most clients look for an answer only when they
#: have sent everything, and lose it if the connection is closed before.
LINGER_SECONDS = 20.0
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=schemas.KEY_PATTERN,
        description="Repeating a request with the same key and bytes gives the same response, for 24 hours.",
    ),
]

#: Why a file may not be taken in, as a document or as a version of one.
REFUSALS = (
    errors.FileEmpty,
    errors.FileTooLarge,
    errors.TypeNotSupported,
    errors.IdempotencyMismatch,
    errors.UploadStalled,
    errors.Overloaded,
    errors.CapacityError,
)

router = APIRouter(prefix="/api/v2/documents", tags=["documents"])


@router.post(
    "/upload",
    operation_id="upload_document",
    summary="Upload a document",
    status_code=202,
    response_model=schemas.UploadAccepted,
    responses=problems.documented(*REFUSALS),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/UploadForm"}}},
        }
    },
)
async def upload_document(
    request: Request, response: Response, parts: Parts, gate: Gate, idempotency_key: IdempotencyKey = None
) -> schemas.UploadAccepted | Response:
    """Accepts one file and answers at once; follow its progress by its `job_id`.

    The same bytes in the same collection are one document: the answer names its first job.
    """
    begun = time.perf_counter()
    form: Form | None = None
    try:
        async with gate.admit(announced(request)):
            form = Form(request.headers.get("content-type", ""), aiter(request.stream()))
            filename = await form.open_file()
            accepted = await parts.accept(filename, form.content(), partial(_details, form, idempotency_key))
    except errors.DataDistillerError as error:
        refused = problems.of_error(request, error)
        return refused if form is not None and form.ended else Lingering(refused)
    parts.metrics.uploads_seconds.observe(time.perf_counter() - begun)
    return _answer(accepted, response)


def _answer(accepted: Accepted, response: Response) -> schemas.UploadAccepted:
    job = accepted.job
    response.headers["Location"] = f"/api/v2/documents/status/{job.job_id}"
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return schemas.UploadAccepted(
        job_id=job.job_id,
        status=model.Status.PENDING if accepted.replayed else job.status,
        message="Document upload accepted",
        filename=job.filename,
        file_size=job.file_size,
        collection=job.collection,
        duplicate=accepted.duplicate,
    )


def announced(request: Request) -> int:
    """The length of the body in bytes as its header says, 0 if it does not."""
    value = request.headers.get("content-length", "")
    return int(value) if value.isdecimal() and len(value) < 20 else 0


async def _details(form: Form, idempotency_key: str | None) -> Details:
    """Reads the fields that follow the file, and checks all of them."""
    fields = await read_fields(form, FIELDS)
    return Details(
        collection=checks.collection(fields.get("collection") or "default"),
        metadata=metadata_of(fields.get("metadata") or "{}"),
        lane=lane_of(fields.get("priority") or "interactive"),
        idempotency_key=idempotency_key,
        password=checks.password(fields.get("password", "")),
    )


async def read_fields(form: Form, known: Sequence[str]) -> dict[str, str]:
    """The fields that follow the file. Raises InvalidRequest for one that is not known."""
    fields = await form.rest()
    for name in fields:
        if name not in known:
            names = ", ".join(known)
            raise errors.InvalidRequest(f"'{name[:40]}' is not a field of this form; besides 'file' it has {names}.")
    return fields


def lane_of(priority: str) -> model.Lane:
    """Raises InvalidRequest."""
    if priority not in ("interactive", "bulk"):
        raise errors.InvalidRequest("priority is 'interactive' or 'bulk'.")
    return model.Lane.BULK if priority == "bulk" else model.Lane.INTERACTIVE


def metadata_of(text: str) -> dict[str, Any]:
    """The metadata, if PostgreSQL can hold it and a filter can reach into it."""
    if len(text.encode()) > MAX_FIELD_BYTES:
        raise errors.InvalidRequest(f"metadata is longer than {MAX_FIELD_BYTES} bytes.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise errors.InvalidRequest("metadata is not valid JSON.") from None
    if not isinstance(value, dict):
        raise errors.InvalidRequest('metadata must be a JSON object, for example {"year": 2024}.')
    checks.storable(value, "metadata")
    return value


class Lingering(JSONResponse):
    """A refusal sent while the body still arrives: sends all of itself at once, reads on for a while, then closes."""

    def __init__(self, refused: JSONResponse) -> None:
        self.refused = refused
        super().__init__(None, refused.status_code)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer, the pause, the end."""
        headers = [*self.refused.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.refused.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.refused.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})
