"""/health names what is down; /livez and /readyz are for orchestrators."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter, Response

import datadistiller
from datadistiller import errors, pipeline, wiring
from datadistiller.api import schemas
from datadistiller.api.parts import Parts
from datadistiller.store import workers

#: A part that needs longer to answer counts as down, seconds.
PATIENCE = 3.0

router = APIRouter(tags=["operations"])


@router.get(
    "/health",
    operation_id="get_health",
    summary="How the system is",
    responses={503: {"model": schemas.Health, "description": "A part is down; `down` names it."}},
)
async def get_health(parts: Parts, response: Response) -> schemas.Health:
    """200 if everything is up: database, object store, search index, a worker of each role, and the broker if any."""
    objects, queue, (database, working) = await asyncio.gather(_objects(parts), _queue(parts), _database(parts))
    components = {"database": database, "objects": objects, "index": _index(parts), "workers": working, "queue": queue}
    down = [name for name, component in components.items() if component is not None and component.status == "down"]
    if down:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return schemas.Health.model_validate(
        {"status": "unhealthy" if down else "healthy", "version": datadistiller.__version__, "down": down} | components
    )


@router.get("/livez", operation_id="get_livez", summary="Whether the process answers")
async def get_livez() -> schemas.Alive:
    """200 as long as the process serves requests at all."""
    return schemas.Alive()


@router.get(
    "/readyz",
    operation_id="get_readyz",
    summary="Whether requests can be served",
    responses={503: {"model": schemas.Ready, "description": "Not yet, or not now."}},
)
async def get_readyz(parts: Parts, response: Response) -> schemas.Ready:
    """200 once the search index has caught up, while database and object store answer."""
    objects, (database, _) = await asyncio.gather(_objects(parts), _database(parts))
    missing = [part.detail for part in (database, objects, _index(parts)) if part.status == "down"]
    if missing:
        response.status_code = 503
        response.headers["Retry-After"] = "1"
    return schemas.Ready(status="not ready" if missing else "ready", detail=" ".join(missing))


async def _objects(parts: wiring.ApiParts) -> schemas.Component:
    try:
        async with asyncio.timeout(PATIENCE):
            await parts.objects.check()
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
        async with asyncio.timeout(PATIENCE):
            alive = await parts.workers.alive(parts.settings.worker_timeout_seconds)
    except (TimeoutError, errors.DataDistillerError) as error:
        reason = _reason("The database", error)
        unknown = schemas.WorkersComponent(status="down", detail="Unknown without the database.", roles={})
        return schemas.Component(status="down", detail=reason), unknown
    return schemas.Component(status="up", detail=""), _workers(alive, broker=parts.publisher is not None)


def _reason(what: str, error: TimeoutError | errors.DataDistillerError) -> str:
    if isinstance(error, errors.DataDistillerError):
        return error.message
    return f"{what} did not answer within {PATIENCE:.0f} seconds."


def _index(parts: wiring.ApiParts) -> schemas.IndexComponent:
    state = parts.follower.state
    status: Literal["up", "down"] = "up" if state.ready and not state.error else "down"
    detail = state.error or ("" if state.ready else "The search index is catching up with the database.")
    return schemas.IndexComponent(status=status, detail=detail, entries=state.entries, lag=state.lag)


def _workers(alive: Sequence[workers.WorkerRow], *, broker: bool) -> schemas.WorkersComponent:
    roles = Counter(role for worker in alive for role in worker.role.split(","))
    missing = sorted(set(pipeline.needed_roles(broker=broker)) - roles.keys())
    if not missing:
        return schemas.WorkersComponent(status="up", detail="", roles=dict(roles))
    detail = f"No worker is alive for: {', '.join(missing)}. Documents wait for it; nothing is lost."
    return schemas.WorkersComponent(status="down", detail=detail, roles=dict(roles))
