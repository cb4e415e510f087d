"""What tests of the HTTP API say and read, whatever it stands on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.acceptance import api_parts

TEXT = "The lighthouse of Kermorvan was built in 1849. It stands on a rock above the sea."

#: For what only one machine has; the reason stands beside it.
on_one_machine = pytest.mark.parametrize("cluster", ["one machine"], indirect=True)


async def upload(
    client: httpx.AsyncClient, body: bytes = TEXT.encode(), name: str = "a.txt", key: str | None = None, **fields: str
) -> httpx.Response:
    """One upload."""
    headers = {"Idempotency-Key": key} if key else {}
    files = {"file": (name, body)}
    return await client.post("/api/v2/documents/upload", files=files, data=fields, headers=headers)


async def make_searchable(client: httpx.AsyncClient, parts: Any, text: str, **fields: str) -> str:
    """Uploads a document and does the workers' part; its job id."""
    job_id = str((await upload(client, text.encode(), **fields)).json()["job_id"])
    await api_parts.process(parts, text)
    assert (await api_parts.finished(client, job_id))["status"] == "completed"
    return job_id


async def stored(parts: Any) -> list[str]:
    """Everything in the object store, unfinished uploads too."""
    return list(await parts.stored.remains())


def is_problem(response: httpx.Response, status: int, code: str, says: str = "") -> dict[str, Any]:
    """Checks that a response is a complete problem; returns it."""
    problem: dict[str, Any] = response.json()
    assert response.status_code == status, problem
    assert response.headers["content-type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "detail", "code", "hint", "instance"}
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"urn:datadistiller:problem:{code}"
    assert says in problem["detail"]
    assert problem["hint"] and problem["title"]
    assert response.headers["x-request-id"]
    if status in (429, 503):
        assert int(response.headers["retry-after"]) >= 1
    return problem


async def read_events(response: httpx.Response) -> list[tuple[str, Any, int | None]]:
    """All events of a stream: name, data, id."""
    found = []
    async for block in _blocks(response):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            number = int(fields["id"]) if "id" in fields else None
            found.append((fields["event"], json.loads(fields["data"]), number))
    return found


async def _blocks(response: httpx.Response) -> AsyncIterator[str]:
    waiting = ""
    async for text in response.aiter_text():
        waiting += text
        while "\n\n" in waiting:
            block, _, waiting = waiting.partition("\n\n")
            yield block
