"""What the API answers when there is too much, or a part of the system is away."""

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
from tests.acceptance.api_kit import is_problem, on_one_machine, stored, upload

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)


async def test_too_much_unfinished_is_answered_before_the_body(
    database: Database, tmp_path: Path, embedder: OnnxEmbedder
) -> None:
    async with api_parts.api_parts(database, tmp_path, embedder, max_pending_jobs=1) as parts:
        transport = httpx.ASGITransport(create_app(parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await upload(client)
            await asyncio.sleep(1.1)  # a count of unfinished documents is believed for a second
            answer = await upload(client, b"more text")
            is_problem(answer, 429, "overloaded", "limit is 1")
            assert len(await stored(parts)) == 1


async def test_a_nearly_full_disk_is_answered_before_the_body(
    database: Database, tmp_path: Path, embedder: OnnxEmbedder
) -> None:
    async with api_parts.api_parts(database, tmp_path, embedder, min_free_disk_bytes=2**60) as parts:
        transport = httpx.ASGITransport(create_app(parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            is_problem(await upload(client), 503, "capacity", "full")
            assert await stored(parts) == []


@on_one_machine  # a file in the folder's place; tests/failure/test_objects_s3.py takes a bucket away
async def test_without_the_object_store_nothing_is_accepted(client: httpx.AsyncClient, parts: Any) -> None:
    (parts.settings.data_dir / "objects").rmdir()
    (parts.settings.data_dir / "objects").write_text("in the way")
    is_problem(await upload(client), 503, "unavailable")
    assert await parts.jobs.unfinished_count() == 0
    health = await client.get("/health")
    assert health.status_code == 503 and "objects" in health.json()["down"]
    assert (await client.get("/readyz")).status_code == 503


async def test_without_the_database_nothing_is_accepted(client: httpx.AsyncClient, parts: Any) -> None:
    await parts.database.close()
    is_problem(await upload(client), 503, "unavailable")
    assert await stored(parts) == []
    is_problem(await client.get("/api/v2/documents"), 503, "unavailable")
    is_problem(await client.post("/api/v2/query", json={"question": "x", "collection": "c"}), 503, "unavailable")
    health = await client.get("/health")
    assert health.status_code == 503 and "database" in health.json()["down"]
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/livez")).status_code == 200
    assert "datadistiller_database_up 0.0" in (await client.get("/metrics")).text


async def test_a_database_lost_in_the_middle_of_an_upload_gives_no_202(client: httpx.AsyncClient, parts: Any) -> None:
    form = (b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n', b"text\r\n--XX--\r\n")

    async def body() -> AsyncIterator[bytes]:
        yield form[0]
        await parts.database.close()
        yield form[1]

    headers = {"Content-Type": "multipart/form-data; boundary=XX"}
    answer = await client.post("/api/v2/documents/upload", content=body(), headers=headers)
    is_problem(answer, 503, "unavailable")
    # A commit whose answer was lost may have happened: the object stays, the sweeper will decide.
    assert len(await stored(parts)) == 1
