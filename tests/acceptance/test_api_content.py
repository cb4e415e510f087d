"""GET .../content on a bucket of a real MinIO: passed through, or by a link to the bucket itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from datadistiller.api.app import create_app
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.objects.s3 import S3Objects
from datadistiller.stages.accept import Accept
from datadistiller.store.database import Database
from tests.acceptance import api_parts
from tests.contracts.objects_kit import bucket_at
from tools.services.minio import MinioServer

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)
NAME = 'Übersicht "2024".html'
BODY = b"<!doctype html><title>x</title><p>A page that must not run here.</p>"


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    return OnnxEmbedder()


@pytest.fixture(params=[0, 60], ids=["passed through", "linked"])
async def parts(
    request: pytest.FixtureRequest, minio: MinioServer, database: Database, tmp_path: Path, embedder: OnnxEmbedder
) -> AsyncIterator[Any]:
    store = S3Objects(bucket_at(minio.url))
    async with api_parts.api_parts(database, tmp_path, embedder, presigned_seconds=request.param) as made:
        made.objects = store
        made.accept = Accept(store, made.jobs, made.notifier, 1_000_000)
        yield made
    await store.close()


@pytest.fixture
async def client(parts: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as made:
        yield made


async def path_of(client: httpx.AsyncClient) -> str:
    answer = await client.post("/api/v2/documents/upload", files={"file": (NAME, BODY)})
    assert answer.status_code == 202
    return f"/api/v2/documents/{answer.json()['job_id']}/content"


async def fetch(client: httpx.AsyncClient, path: str, **headers: str) -> httpx.Response:
    """As a client that follows: a request to another server goes there, with the same headers."""
    answer = await client.get(path, headers=headers)
    if answer.status_code != 307:
        return answer
    assert answer.headers["cache-control"] == "no-store"
    async with httpx.AsyncClient() as elsewhere:
        return await elsewhere.get(answer.headers["location"], headers=headers)


async def test_the_bytes_are_a_download_of_the_right_type(client: httpx.AsyncClient) -> None:
    answer = await fetch(client, await path_of(client))
    assert (answer.status_code, answer.content) == (200, BODY)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"_bersicht _2024_.html\"; filename*=UTF-8''%C3%9Cbersicht%20%222024%22.html"
    )


async def test_a_range_is_served(client: httpx.AsyncClient) -> None:
    answer = await fetch(client, await path_of(client), Range="bytes=2-8")
    assert (answer.status_code, answer.content) == (206, BODY[2:9])
    assert answer.headers["content-range"] == f"bytes 2-8/{len(BODY)}"


async def test_only_one_of_the_two_is_a_redirect(client: httpx.AsyncClient, parts: Any) -> None:
    answer = await client.get(await path_of(client))
    assert answer.status_code == (307 if parts.settings.presigned_seconds else 200)


async def test_what_the_client_has_is_not_sent_again(client: httpx.AsyncClient, parts: Any) -> None:
    path = await path_of(client)
    [job], _ = await parts.jobs.list()
    assert (await client.get(path, headers={"If-None-Match": f'"{job.sha256}"'})).status_code == 304


async def test_a_lost_object_is_a_problem_and_no_link(client: httpx.AsyncClient, parts: Any) -> None:
    path = await path_of(client)
    [job], _ = await parts.jobs.list()
    await parts.objects.delete(job.object_key)
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "object_missing")
