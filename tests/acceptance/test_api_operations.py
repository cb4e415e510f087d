"""Health, metrics, dead letters, the index: what operators and orchestrators call."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from datadistiller import errors, messages
from datadistiller.api import health
from datadistiller.queueing.kafka_client import Access
from datadistiller.queueing.kafka_publisher import KafkaPublisher
from tests.acceptance import api_parts
from tests.acceptance.api_kit import TEXT, is_problem, make_searchable, on_one_machine, upload

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)


async def test_health_names_what_is_down(client: httpx.AsyncClient, parts: Any) -> None:
    await api_parts.ready(client)
    without = await client.get("/health")
    assert without.status_code == 503 and without.json()["status"] == "unhealthy"
    assert without.json()["down"] == ["workers"] and "ingest" in without.json()["workers"]["detail"]
    await api_parts.register_workers(parts)
    body = (await client.get("/health")).json()
    assert body["status"] == "healthy" and body["down"] == []
    assert body["workers"]["roles"] == dict.fromkeys(api_parts.needed_roles(parts), 1)
    assert {body[name]["status"] for name in ("database", "objects", "index", "workers")} == {"up"}
    assert body["queue"] == (None if parts.publisher is None else {"status": "up", "detail": ""})


@on_one_machine  # it brings a broker of its own
async def test_a_broker_that_is_away_is_named(client: httpx.AsyncClient, parts: Any) -> None:
    parts.publisher = KafkaPublisher(Access("kafka://127.0.0.1:1"))
    await api_parts.ready(client)
    await api_parts.register_workers(parts, "ingest", "embed")
    body = (await client.get("/health")).json()
    assert body["down"] == ["workers", "queue"]
    assert "relay" in body["workers"]["detail"] and "127.0.0.1:1 does not answer" in body["queue"]["detail"]
    await api_parts.register_workers(parts, "relay")
    assert (await client.get("/health")).json()["down"] == ["queue"]
    findings = (await client.get("/api/v2/doctor")).json()["findings"]
    assert [f["level"] for f in findings if "127.0.0.1:1" in f["sentence"]] == ["error"]
    assert any("published and not begun" in f["sentence"] for f in findings)
    assert (await upload(client)).status_code == 202
    await parts.publisher.close()


async def test_monitors_may_ask_for_the_head_only(client: httpx.AsyncClient, parts: Any) -> None:
    await api_parts.ready(client)
    for path, status in [("/health", 503), ("/livez", 200), ("/readyz", 200), ("/metrics", 200)]:
        assert (await client.head(path)).status_code == status, path
    await api_parts.register_workers(parts)
    assert (await client.head("/health")).status_code == 200


async def test_health_does_not_wait_for_a_database_that_hangs(
    client: httpx.AsyncClient, parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Frozen:
        async def alive(self, _: float) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(2)  # as psycopg does, which asks the server to cancel the statement

    parts.workers = Frozen()
    monkeypatch.setattr(health, "PATIENCE", 0.1)
    async with asyncio.timeout(1):
        for path in ("/health", "/readyz"):
            answer = await client.get(path)
            assert answer.status_code == 503 and "did not answer" in answer.text, path


async def test_metrics_are_given(client: httpx.AsyncClient, parts: Any) -> None:
    await api_parts.register_workers(parts)
    await make_searchable(client, parts, TEXT)
    await upload(client, b"waits")
    await client.post("/api/v2/query", json={"question": "a secret question"})
    text = (await client.get("/metrics")).text
    for line in (
        'datadistiller_documents{status="completed"} 1.0',
        'datadistiller_documents{status="pending"} 1.0',
        'datadistiller_queue_messages{state="due",topic="doc-ingest-requests"} 1.0',
        'datadistiller_query_seconds_count{mode="hybrid"} 1.0',
        "datadistiller_uploads_seconds_count 2.0",
        "datadistiller_index_entries 1.0",
        "datadistiller_database_up 1.0",
    ):
        assert line in text.splitlines(), f"{line} is missing in\n{text}"
    assert "secret" not in text


async def test_dead_letters_are_shown_replayed_and_discarded(client: httpx.AsyncClient, parts: Any) -> None:
    ids = []
    for n in range(3):
        ids.append((await upload(client, f"text {n}".encode(), f"{n}.txt")).json()["job_id"])
        (delivery,) = await api_parts.claim(parts, messages.INGEST_TOPIC)
        await api_parts.settle(parts, messages.Failed(delivery, errors.DamagedDocument()))
    first = (await client.get("/api/v2/dead-letters", params={"limit": 2})).json()
    assert [letter["job_id"] for letter in first["dead_letters"]] == ids[:0:-1]
    rest = (await client.get("/api/v2/dead-letters", params={"cursor": first["next_cursor"]})).json()
    assert [letter["job_id"] for letter in rest["dead_letters"]] == ids[:1] and rest["next_cursor"] is None
    url = f"/api/v2/dead-letters/{first['dead_letters'][0]['dead_id']}"
    shown = (await client.get(url)).json()
    assert shown["error"]["code"] == "damaged" and shown["filename"] == "2.txt"
    replayed = await client.post(f"{url}/replay")
    assert (replayed.status_code, replayed.json()["status"], replayed.json()["attempt"]) == (202, "pending", 2)
    is_problem(await client.get(url), 404, "dead_letter_not_found")
    other = f"/api/v2/dead-letters/{rest['dead_letters'][0]['dead_id']}"
    assert (await client.delete(other)).status_code == 204
    for method, path in [("GET", other), ("DELETE", other), ("POST", f"{other}/replay")]:
        is_problem(await client.request(method, path), 404, "dead_letter_not_found")
    is_problem(await client.get("/api/v2/dead-letters?cursor=x"), 422, "invalid_request", "cursor")
    is_problem(await client.get("/api/v2/dead-letters/x"), 422, "invalid_request")


async def test_the_index_can_be_rebuilt(client: httpx.AsyncClient, parts: Any) -> None:
    await make_searchable(client, parts, TEXT)
    assert (await client.post("/api/v2/index/rebuild")).status_code == 202
    assert len((await client.post("/api/v2/query", json={"question": "lighthouse"})).json()["citations"]) == 1
