"""GET /api/v2/doctor: what is wrong, and why each job that is not finished is not."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from datadistiller import errors, pipeline, wiring
from datadistiller.api import problems, schemas
from datadistiller.api.parts import Comparing, Parts
from datadistiller.runtime.comparison import Comparison
from datadistiller.runtime.doctor import Doctor, Finding
from datadistiller.store.audit import Audit

router = APIRouter(prefix="/api/v2", tags=["operations"])


@router.get(
    "/doctor",
    operation_id="examine",
    summary="Examine the system",
    responses=problems.documented(errors.Overloaded),
)
async def examine(
    parts: Parts,
    comparing: Comparing,
    deep: Annotated[
        bool, Query(description="Compare database, object store and index completely too; takes its time.")
    ] = False,
) -> schemas.Examination:
    """Services, disk, queue, workers, index against database, and one line for every unfinished job."""
    doctor = Doctor(
        inspection=parts.inspection,
        messages=parts.messages,
        workers=parts.workers,
        objects=parts.objects,
        outbox=parts.outbox,
        publisher=parts.publisher,
        index=parts.index,
        engine=parts.embedder.engine,
        roles=pipeline.needed_roles(broker=parts.publisher is not None, index_inside=parts.settings.index_inside),
        data_dir=parts.settings.data_dir,
        worker_timeout_seconds=parts.settings.worker_timeout_seconds,
        min_free_disk_bytes=parts.settings.min_free_disk_bytes,
    )
    found = [*(await _compare(parts, comparing) if deep else ()), *await doctor.examine()]
    return schemas.Examination(findings=[schemas.Finding.model_validate(f, from_attributes=True) for f in found])


async def _compare(parts: wiring.ApiParts, comparing: asyncio.Lock) -> list[Finding]:
    if comparing.locked():
        raise errors.Overloaded("The stores are being compared already.", retry_after=10)
    async with comparing:
        comparison = Comparison(
            Audit(parts.database), parts.objects, parts.search_index, parts.settings.sweep_grace_seconds
        )
        return await comparison.compare()
