"""Server-Sent Events: how one is written, and how a stream of them is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = b": keep-alive\n\n"


def event(name: str, data: str, number: int | None = None) -> bytes:
    """One event; ``data`` is JSON on one line, ``number`` becomes the id a client comes back with."""
    lines = [f"event: {name}", f"data: {data}"]
    if number is not None:
        lines.insert(0, f"id: {number}")
    return ("\n".join(lines) + "\n\n").encode()


def stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """The response; proxies are told not to gather or keep it."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type=MEDIA_TYPE, headers=headers)


def documented(description: str, example: str) -> dict[str, object]:
    """The 200 response of a stream, for OpenAPI."""
    return {"description": description, "content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": example}}}
