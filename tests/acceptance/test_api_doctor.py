"""GET /api/v2/doctor: all parts looked at, and compared completely if asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from datadistiller.api.app import create_app
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.store.database import Database
from tests.acceptance import api_parts

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)
TEXT = "The lighthouse of Kermorvan was built in 1849."


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    return OnnxEmbedder()


@pytest.fixture
async def parts(database: Database, tmp_path: Path, embedder: OnnxEmbedder) -> AsyncIterator[Any]:
    async with api_parts.api_parts(database, tmp_path, embedder) as made:
        yield made


@pytest.fixture
async def client(parts: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as made:
        await api_parts.ready(made)
        yield made


async def examined(client: httpx.AsyncClient, deep: bool) -> list[dict[str, str]]:
    answer = await client.get("/api/v2/doctor", params={"deep": deep})
    assert answer.status_code == 200
    return list(answer.json()["findings"])


async def test_all_stores_are_compared_if_asked(client: httpx.AsyncClient, parts: Any) -> None:
    sent = await client.post("/api/v2/documents/upload", files={"file": ("a.txt", TEXT.encode())})
    await api_parts.process(parts, TEXT)
    await api_parts.finished(client, sent.json()["job_id"])
    assert "comparison" not in {finding["part"] for finding in await examined(client, deep=False)}
    first, *rest = await examined(client, deep=True)
    assert first["sentence"] == "Database, object store and index agree on all 1 documents and 1 chunks."
    assert {finding["part"] for finding in rest} >= {"disk", "index", "objects", "database", "workers"}


async def test_what_differs_is_an_error_with_a_hint(client: httpx.AsyncClient, parts: Any) -> None:
    await client.post("/api/v2/documents/upload", files={"file": ("a.txt", TEXT.encode())})
    [job], _ = await parts.jobs.list()
    await parts.objects.delete(job.object_key)
    first, *_ = await examined(client, deep=True)
    assert (first["level"], first["part"]) == ("error", "objects")
    assert job.object_key in first["sentence"] and first["hint"]


async def test_one_comparison_at_a_time(client: httpx.AsyncClient, parts: Any) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    contents = parts.search_index.contents

    async def held(first: int = 0, limit: int | None = None) -> Any:  # as long as this test wants
        began.set()
        await go_on.wait()
        return await contents(first, limit)

    parts.search_index.contents = held
    running = asyncio.create_task(examined(client, deep=True))
    await began.wait()
    refused = await client.get("/api/v2/doctor", params={"deep": True})
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert await examined(client, deep=False)
    go_on.set()
    assert await running
    assert await examined(client, deep=True)
