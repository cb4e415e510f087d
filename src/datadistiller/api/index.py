"""POST /api/v2/index/rebuild: the search index anew, from the database."""

from __future__ import annotations

from fastapi import APIRouter

from datadistiller.api import problems, schemas
from datadistiller.api.parts import Parts

router = APIRouter(prefix="/api/v2/index", tags=["operations"])


@router.post(
    "/rebuild",
    operation_id="rebuild_index",
    summary="Rebuild the search index",
    status_code=202,
    responses=problems.documented(),
)
async def rebuild_index(parts: Parts) -> schemas.Rebuild:
    """Needs no document and no model again: the vectors are in the database. See GET /health for its progress."""
    await parts.index.request_rebuild()
    return schemas.Rebuild(message="The search index is being rebuilt.")
