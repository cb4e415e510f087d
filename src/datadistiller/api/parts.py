"""How a route gets what it works with: the parts of the application, injected by type.

All of these are coroutines: FastAPI calls plain functions in a thread, which costs more than they do.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Path, Request

from datadistiller import errors, wiring
from datadistiller.api.admission import Admission


async def _parts(request: Request) -> wiring.ApiParts:
    return cast(wiring.ApiParts, request.app.state.parts)


async def _admission(request: Request) -> Admission:
    return cast(Admission, request.app.state.admission)


async def _stop(request: Request) -> asyncio.Event:
    return cast(asyncio.Event, request.app.state.stop)


async def _comparing(request: Request) -> asyncio.Lock:
    return cast(asyncio.Lock, request.app.state.comparing)


async def _job_id(
    job_id: Annotated[
        str, Path(description="The id an upload was answered with.", json_schema_extra={"format": "uuid"})
    ],
) -> UUID:
    # A string that is no UUID names no document either: one answer for both.
    try:
        return UUID(job_id)
    except ValueError:
        raise errors.JobNotFound("There is no document with this id.") from None


Parts = Annotated[wiring.ApiParts, Depends(_parts)]
Gate = Annotated[Admission, Depends(_admission)]
#: Set when the server is to stop: streams end then.
Stop = Annotated[asyncio.Event, Depends(_stop)]
#: Held while all stores are compared: once at a time is enough.
Comparing = Annotated[asyncio.Lock, Depends(_comparing)]
JobId = Annotated[UUID, Depends(_job_id)]
