"""The files in a document: attached to it, or packed in it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from datadistiller import errors, model
from datadistiller.api import problems, schemas
from datadistiller.api.parts import JobId, Parts

router = APIRouter(prefix="/api/v2/documents", tags=["documents"])


class Child(schemas.Body):
    """A file in a document: a document of its own, or the reason why it is none."""

    path: str = Field(description="What it is called in the document.", examples=["2026/report.pdf"])
    size: int = Field(description="Bytes.", ge=0)
    job: schemas.JobStatus | None
    problem: schemas.JobError | None = Field(description="Why it is no document.")

    @classmethod
    def of(cls, child: model.Child) -> Child:
        """The file as it is shown."""
        return cls(
            path=child.path,
            size=child.size,
            job=schemas.JobStatus.of(child.job) if child.job else None,
            problem=schemas.JobError(**child.problem.as_json()) if child.problem else None,
        )


class ChildList(schemas.Body):
    """A page of the files in a document, in its order."""

    children: list[Child]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null at the end.")


@router.get(
    "/{job_id}/children",
    operation_id="list_children",
    summary="The files in a document",
    responses=problems.documented(errors.JobNotFound),
)
async def list_children(
    job_id: JobId,
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=200, description="How many at most.")] = 50,
    cursor: schemas.Cursor = None,
) -> ChildList:
    """What is attached to it or packed in it, in its order: each a document of its own, or the reason why not."""
    found, following = await parts.jobs.children(job_id, limit, cursor)
    return ChildList(children=[Child.of(child) for child in found], next_cursor=following)
