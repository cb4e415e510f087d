"""A bound on the JSON bodies of requests: they are read into memory whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from datadistiller import errors

#: The longest question and the largest filter fit several times over.
MAX_BODY_BYTES = 1 << 20


class BoundedRoute(APIRoute):
    """A route whose body is read to the limit and no further, whether or not its length was announced."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, on a request that stops reading."""
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            try:
                return await handle(_Bounded(request.scope, request.receive))
            except HTTPException as error:
                # FastAPI makes a 400 of whatever is raised while it reads the body.
                if isinstance(error.__cause__, errors.BodyTooLarge):
                    raise error.__cause__ from None
                raise

        return bounded


class _Bounded(Request):
    async def stream(self) -> AsyncGenerator[bytes, None]:
        size = 0
        async for piece in super().stream():
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raise errors.BodyTooLarge(f"The body is larger than the limit of {MAX_BODY_BYTES} bytes.")
            yield piece
