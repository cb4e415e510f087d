"""What could not be processed, why, and again: /api/v2/dead-letters."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from datadistiller import errors
from datadistiller.api import problems, schemas
from datadistiller.api.parts import Parts

DeadId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The number of the dead letter.")]

router = APIRouter(prefix="/api/v2/dead-letters", tags=["dead letters"])


@router.get("", operation_id="list_dead_letters", summary="List dead letters", responses=problems.documented())
async def list_dead_letters(
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=200, description="How many at most.")] = 50,
    cursor: schemas.Cursor = None,
) -> schemas.DeadLetterList:
    """Newest first."""
    found = await parts.dead_letters.list(limit + 1, _after(cursor))
    shown = [schemas.DeadLetter.of(letter) for letter in found[:limit]]
    following = str(shown[-1].dead_id) if len(found) > limit else None
    return schemas.DeadLetterList(dead_letters=shown, next_cursor=following)


def _after(cursor: str | None) -> int | None:
    if not cursor:
        return None
    if not re.fullmatch("[1-9][0-9]{0,17}", cursor):
        raise errors.InvalidRequest("The cursor is not one that this list gave.", hint="Start without it.")
    return int(cursor)


@router.get(
    "/{dead_id}",
    operation_id="get_dead_letter",
    summary="Show a dead letter",
    responses=problems.documented(errors.DeadLetterNotFound),
)
async def get_dead_letter(dead_id: DeadId, parts: Parts) -> schemas.DeadLetter:
    """With the places in the code and the attempts before."""
    return schemas.DeadLetter.of(await parts.dead_letters.get(dead_id))


@router.post(
    "/{dead_id}/replay",
    operation_id="replay_dead_letter",
    summary="Try again",
    status_code=202,
    responses=problems.documented(errors.DeadLetterNotFound, errors.JobNotFound, errors.Conflict),
)
async def replay_dead_letter(dead_id: DeadId, parts: Parts) -> schemas.JobStatus:
    """Starts a new attempt of the whole document; its other dead letters go too."""
    job = await parts.dead_letters.replay(dead_id)
    return schemas.JobStatus.of(await parts.jobs.get(job.job_id))


@router.delete(
    "/{dead_id}",
    operation_id="discard_dead_letter",
    summary="Discard a dead letter",
    status_code=204,
    response_class=Response,
    responses=problems.documented(errors.DeadLetterNotFound),
)
async def discard_dead_letter(dead_id: DeadId, parts: Parts) -> Response:
    """Forgets it; the document keeps its status."""
    await parts.dead_letters.discard(dead_id)
    return Response(status_code=204)
