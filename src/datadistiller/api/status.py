"""GET /api/v2/documents/status/{job_id}."""

from __future__ import annotations

from fastapi import APIRouter

from datadistiller import errors
from datadistiller.api import problems, schemas
from datadistiller.api.parts import JobId, Parts

router = APIRouter(prefix="/api/v2/documents/status", tags=["documents"])


@router.get(
    "/{job_id}",
    operation_id="get_status",
    summary="Status of a document",
    responses=problems.documented(errors.JobNotFound),
)
async def get_status(job_id: JobId, parts: Parts) -> schemas.JobStatus:
    """How far a document is; if it failed, why and what to do."""
    return schemas.JobStatus.of(await parts.jobs.get(job_id))
