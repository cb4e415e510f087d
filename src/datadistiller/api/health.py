"""/health names what is down; /livez and /readyz are for orchestrators."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Response

import datadistiller
from datadistiller import errors, pipeline, wiring
from datadistiller.api import schemas
from datadistiller.api.parts import Parts
from datadistiller.runtime.index_status import CATCHING_UP
from datadistiller.store import workers

#: A part that needs longer to answer counts as down, seconds.
PATIENCE = 3.0

_Answer = TypeVar("_Answer")

router = APIRouter(tags=["operations"])


@router.head("/health", include_in_schema=False)
@router.get(
    "/health",
    operation_id="get_health",
    summary="How the system is",
    responses={503: {"model": schemas.Health, "description": "A part is down; `down` names it."}},
)
async def get_health(parts: Parts, response: Response) -> schemas.Health:
    """200 if everything is up: database, object store, search index, a worker of each role, and the broker if any."""
    objects, queue, (database, working), (index, _) = await asyncio.gather(
        _objects(parts), _queue(parts), _database(parts), _index(parts)
    )
    components = {"database": database, "objects": objects, "index": index, "workers": working, "queue": queue}
    rerank = parts.ask.rerank
    down = [name for name, component in components.items() if component is not None and component.status == "down"]
    if down:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return schemas.Health.model_validate(
        {
            "status": "unhealthy" if down else "healthy",
            "version": datadistiller.__version__,
            "down": down,
            "embedding": _engine(parts.embedder.engine),
            "reranking": _engine(rerank.reranker.engine) if rerank else None,
        }
        | components
    )


def _engine(name: str) -> schemas.EngineComponent:
    return schemas.EngineComponent(status="up", detail="", engine=name)


@router.head("/livez", include_in_schema=False)
@router.get("/livez", operation_id="get_livez", summary="Whether the process answers")
async def get_livez() -> schemas.Alive:
    """200 as long as the process serves requests at all."""
    return schemas.Alive()


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    operation_id="get_readyz",
    summary="Whether requests can be served",
    responses={503: {"model": schemas.Ready, "description": "Not yet, or not now."}},
)
async def get_readyz(parts: Parts, response: Response) -> schemas.Ready:
    """200 once the search index can answer, while database and object store do."""
    objects, (database, _), (index, serving) = await asyncio.gather(_objects(parts), _database(parts), _index(parts))
    missing = [part.detail for part in (database, objects) if part.status == "down"]
    missing += [] if serving else [index.detail]
    if missing:
        response.status_code = 503
        response.headers["Retry-After"] = "1"
    return schemas.Ready(status="not ready" if missing else "ready", detail=" ".join(missing))


async def _objects(parts: wiring.ApiParts) -> schemas.Component:
    try:
        await _in_time(parts.objects.check())
    except (TimeoutError, errors.DataDistillerError) as error:
        return schemas.Component(status="down", detail=_reason("The object store", error))
    return schemas.Component(status="up", detail="")


async def _queue(parts: wiring.ApiParts) -> schemas.Component | None:
    """The broker, if there is one. Uploads are accepted without it, and wait in the database."""
    if parts.publisher is None:
        return None
    try:
        async with asyncio.timeout(PATIENCE):
            await parts.publisher.check()
    except (TimeoutError, errors.DataDistillerError) as error:
        return schemas.Component(status="down", detail=_reason("Kafka", error))
    return schemas.Component(status="up", detail="")


async def _database(parts: wiring.ApiParts) -> tuple[schemas.Component, schemas.WorkersComponent]:
    """The database, asked for what it knows of the workers."""
    try:
        alive = await _in_time(parts.workers.alive(parts.settings.worker_timeout_seconds))
    except (TimeoutError, errors.DataDistillerError) as error:
        reason = _reason("The database", error)
        unknown = schemas.WorkersComponent(status="down", detail="Unknown without the database.", roles={})
        return schemas.Component(status="down", detail=reason), unknown
    return schemas.Component(status="up", detail=""), _workers(parts, alive)


async def _in_time(question: Coroutine[Any, Any, _Answer]) -> _Answer:
    """The answer, or TimeoutError. Cancelled, but not waited for: a database that hangs keeps even who wants to go."""
    asked = asyncio.create_task(question)
    asked.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to hear it
    try:
        await asyncio.wait({asked}, timeout=PATIENCE)
        if not asked.done():
            raise TimeoutError
        return asked.result()
    finally:
        asked.cancel()


def _reason(what: str, error: TimeoutError | errors.DataDistillerError) -> str:
    if isinstance(error, errors.DataDistillerError):
        return error.message
    return f"{what} did not answer within {PATIENCE:.0f} seconds."


async def _index(parts: wiring.ApiParts) -> tuple[schemas.IndexComponent, bool]:
    """The index and its follower, and whether questions can be answered: with a follower that stands still they can."""
    try:
        async with asyncio.timeout(PATIENCE):
            state = await parts.index.state()
    except TimeoutError as error:
        reason = _reason("The search index", error)
        return schemas.IndexComponent(status="down", detail=reason, entries=0, lag=0), False
    status: Literal["up", "down"] = "up" if state.ready and not state.error else "down"
    detail = state.error or ("" if state.ready else CATCHING_UP)
    return schemas.IndexComponent(status=status, detail=detail, entries=state.entries, lag=state.lag), state.serving


def _workers(parts: wiring.ApiParts, alive: Sequence[workers.WorkerRow]) -> schemas.WorkersComponent:
    roles = Counter(role for worker in alive for role in worker.role.split(","))
    needed = pipeline.needed_roles(broker=parts.publisher is not None, index_inside=parts.settings.index_inside)
    missing = sorted(set(needed) - roles.keys())
    if not missing:
        return schemas.WorkersComponent(status="up", detail="", roles=dict(roles))
    detail = f"No worker is alive for: {', '.join(missing)}. Documents wait for it; nothing is lost."
    return schemas.WorkersComponent(status="down", detail=detail, roles=dict(roles))
