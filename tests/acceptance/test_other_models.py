"""A whole system on converted models: their vectors are stored and searched, and what they score is put first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from datadistiller import wiring
from datadistiller.api.app import create_app
from datadistiller.embedding import conversion
from datadistiller.embedding.published import Options
from datadistiller.settings import Settings
from tests.contracts import bert_kit
from tests.contracts.bert_kit import Sizes

PAGES = [
    "the tide was high",
    "bread",
    "lighthouse kept steam",
    "the harbour",
    "what the query was",
    "how a passage is kept",
]
QUESTION = "how high was the tide in the harbour?"


@dataclass(frozen=True)
class System:
    """The API in this process, on a database with six documents."""

    client: httpx.AsyncClient
    parts: wiring.ApiParts

    async def ask(self, top_k: int = 3) -> dict[str, Any]:
        """The answer to the question."""
        response = await self.client.post("/api/v2/query", json={"question": QUESTION, "top_k": top_k})
        assert response.status_code == 200
        return dict(response.json())


@pytest.fixture
async def system(tmp_path: Path, database_url: str) -> AsyncIterator[System]:
    """Ingestion and embedding run beside the API until all documents are completed."""
    bert_kit.publish(tmp_path / "embedder", Sizes(1, 128, 4, 128))
    bert_kit.publish(tmp_path / "scorer", Sizes(1, 128, 4, 128, scores=True), seed=4)
    options = Options(query_prefix="query: ", passage_prefix="passage: ")
    conversion.convert(tmp_path / "embedder", tmp_path / "e", "e", options)
    conversion.convert(tmp_path / "scorer", tmp_path / "s", "s")
    settings = Settings(
        data_dir=tmp_path / "data", database_url=database_url, embedding_model=str(tmp_path / "e"),
        reranking_model=str(tmp_path / "s"), reranking_passages=4,
    )  # fmt: skip
    stop, stopped = asyncio.Event(), asyncio.Event()
    workers = asyncio.create_task(wiring.run_roles(settings, ["ingest", "embed"], stopped))
    try:
        async with wiring.open_core(settings, ["api"], stop) as core, wiring.api_parts(core, stop) as parts:
            transport = httpx.ASGITransport(create_app(parts))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
                await take_in(client)
                yield System(client, parts)
    finally:
        stopped.set()
        await workers


async def take_in(client: httpx.AsyncClient) -> None:
    """Uploads every page and waits until all can be found."""
    for n, page in enumerate(PAGES):
        files = {"file": (f"{n}.txt", page.encode(), "text/plain")}
        assert (await client.post("/api/v2/documents/upload", files=files)).status_code == 202
    async with asyncio.timeout(60):
        while True:
            jobs = (await client.get("/api/v2/documents")).json()["jobs"]
            assert not [job for job in jobs if job["status"] == "failed"]
            if {job["status"] for job in jobs} == {"completed"}:
                return
            await asyncio.sleep(0.05)


async def test_documents_are_found_by_a_converted_model_and_scored_by_another(system: System) -> None:
    parts = system.parts
    rows = await parts.chunks.passages(range(1, 100))
    assert parts.embedder.fingerprint.startswith("e-int8:mean:128:")
    assert sorted(passage.text for passage in rows) == sorted(PAGES)

    said = await system.ask()
    assert said["scored_by"] == "s-int8" and "rerank" in said["timings_ms"]
    found = await parts.search.search(QUESTION, 4)
    assert parts.ask.rerank is not None
    texts = [f"{passage.context}\n{passage.text}" for passage in found.passages]
    logits = parts.ask.rerank.reranker.score(QUESTION, texts)
    order = np.argsort(-logits)[:3]
    assert [citation["text"] for citation in said["citations"]] == [found.passages[n].text for n in order]
    assert list(order) != [0, 1, 2]  # or the model would have changed nothing
    scores = [citation["score"] for citation in said["citations"]]
    assert np.allclose(scores, 1 / (1 + np.exp(-logits[order])), atol=1e-6)
    assert all(citation["similarity"] is not None for citation in said["citations"])

    everything = await system.ask(top_k=6)
    assert len(everything["citations"]) == len(PAGES)  # all that are shown are scored, more than the setting says
    health = (await system.client.get("/health")).json()
    assert health["reranking"]["engine"] == parts.ask.rerank.reranker.engine
    assert health["embedding"]["engine"] == parts.embedder.engine
