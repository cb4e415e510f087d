"""GET /api/v2/documents/{job_id}/report: what happened to a document."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from datadistiller import errors, model
from datadistiller.api import problems, schemas
from datadistiller.api.parts import JobId, Parts

router = APIRouter(prefix="/api/v2/documents", tags=["documents"])


class Reading(schemas.Body):
    """What was read of the document, by the attempt it names."""

    attempt: int = Field(ge=1)
    parser: str = Field(examples=["text"])
    media_type: str = Field(examples=["text/plain"])
    encoding: str = Field(description="What a text's bytes were taken for; else empty.", examples=["windows-1251"])
    pages: int
    pages_text: int = Field(description="Pages with text in the file.")
    pages_recognised: int = Field(description="Pages whose text was read from a picture (OCR).")
    pages_empty: int
    pages_failed: int = Field(description="`failed_pages` says why.")
    characters: int
    chunks: int
    tokens: int = Field(description="Of all chunks, with their titles and headings.")
    warnings: list[schemas.JobError] = Field(description="What was guessed, or left out.")


class Stage(schemas.Body):
    """What a stage of the last attempt took."""

    stage: Literal["wait", "parse", "chunk", "embed", "index"]
    seconds: float = Field(description="By the clock. Embedding is told by the times of its first and last vector.")
    bytes: int | None = Field(description="Of the file, of its text (UTF-8), of its vectors.")


class Vectors(schemas.Body):
    """How the chunks came by their vectors."""

    computed: int = Field(description="By the model.")
    found: int = Field(description="The same text had one already, here or in another document.")


class Step(schemas.Body):
    """A status that an attempt reached."""

    status: str = Field(examples=["completed"])
    at: datetime = Field(examples=[schemas.EXAMPLE_TIME])
    code: str | None = Field(description="Why, if the attempt did not end well.", examples=["no_text"])


class Attempt(schemas.Body):
    """What happened in one attempt."""

    number: int = Field(ge=1)
    steps: list[Step]


class Report(schemas.Body):
    """What happened to the newest version of a document. It holds none of its text."""

    job_id: UUID = Field(examples=[schemas.EXAMPLE_JOB])
    filename: str = Field(examples=["report.pdf"])
    version: int = Field(ge=1)
    status: model.Status
    attempt: int = Field(ge=1)
    error: schemas.JobError | None
    reading: Reading | None = Field(description="null until the document was read once.")
    failed_pages: list[schemas.FailedPage]
    stages: list[Stage] = Field(description="As far as the last attempt has come.")
    vectors: Vectors
    attempts: list[Attempt]

    @classmethod
    def of(cls, report: model.Report) -> Report:
        """The report as it is shown."""
        return cls(
            job_id=report.job_id,
            filename=report.filename,
            version=report.version,
            status=report.status,
            attempt=report.attempt,
            error=schemas.JobError(**report.error.as_json()) if report.error else None,
            reading=Reading(**report.reading) if report.reading else None,
            failed_pages=[schemas.FailedPage(**page) for page in report.failed_pages],
            stages=[Stage.model_validate(stage, from_attributes=True) for stage in report.stages],
            vectors=Vectors(computed=report.vectors_computed, found=report.vectors_found),
            attempts=[Attempt.model_validate(attempt, from_attributes=True) for attempt in report.attempts],
        )


@router.get(
    "/{job_id}/report",
    operation_id="get_report",
    summary="What happened to a document",
    responses=problems.documented(errors.JobNotFound),
)
async def get_report(job_id: JobId, parts: Parts) -> Report:
    """How it was read, what was guessed or left out, what each stage took, and every attempt."""
    return Report.of(await parts.reports.of(job_id))
