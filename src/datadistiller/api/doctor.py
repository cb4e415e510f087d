"""GET /api/v2/doctor: what is wrong, and why each job that is not finished is not."""

from __future__ import annotations

from fastapi import APIRouter

from datadistiller import pipeline
from datadistiller.api import problems, schemas
from datadistiller.api.parts import Parts
from datadistiller.runtime.doctor import Doctor

router = APIRouter(prefix="/api/v2", tags=["operations"])


@router.get(
    "/doctor",
    operation_id="examine",
    summary="Examine the system",
    responses=problems.documented(),
)
async def examine(parts: Parts) -> schemas.Examination:
    """Services, disk, queue, workers, index against database, and one line for every unfinished job."""
    doctor = Doctor(
        inspection=parts.inspection,
        messages=parts.messages,
        workers=parts.workers,
        objects=parts.objects,
        outbox=parts.outbox,
        publisher=parts.publisher,
        index=parts.index,
        roles=pipeline.needed_roles(broker=parts.publisher is not None, index_inside=parts.settings.index_inside),
        data_dir=parts.settings.data_dir,
        worker_timeout_seconds=parts.settings.worker_timeout_seconds,
        min_free_disk_bytes=parts.settings.min_free_disk_bytes,
    )
    found = await doctor.examine()
    return schemas.Examination(findings=[schemas.Finding.model_validate(f, from_attributes=True) for f in found])
