"""The API in this process, for the tests of its calls: on the parts of one machine, and on those of a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from datadistiller.api.app import create_app
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.store.database import Database
from tests.acceptance import api_parts


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    """The bundled model."""
    return OnnxEmbedder()


@pytest.fixture(params=["one machine", "cluster"])
def cluster(request: pytest.FixtureRequest) -> api_parts.Cluster | None:
    """The servers of a cluster, or none."""
    if request.param == "one machine":
        return None
    return api_parts.Cluster(*(request.getfixturevalue(name) for name in ("kafka", "minio", "opensearch")))


@pytest.fixture
async def parts(
    cluster: api_parts.Cluster | None, database: Database, tmp_path: Path, embedder: OnnxEmbedder
) -> AsyncIterator[Any]:
    """The parts of the API, with limits that tests can reach."""
    limits = {"max_upload_bytes": 300_000, "max_question_chars": 200, "max_top_k": 20}
    async with AsyncExitStack() as stack:
        backing = await stack.enter_async_context(cluster.backing(database, embedder)) if cluster else None
        yield await stack.enter_async_context(
            api_parts.api_parts(database, tmp_path, embedder, backing=backing, **limits)
        )


@pytest.fixture
async def client(parts: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API, without a socket."""
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as made:
        yield made
