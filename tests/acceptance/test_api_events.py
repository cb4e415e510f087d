"""The event stream of a document."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.acceptance import api_parts
from tests.acceptance.api_kit import TEXT, read_events, upload

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)


async def test_events_tell_every_status_and_end(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = (await upload(client)).json()["job_id"]
    watching = asyncio.create_task(client.get(f"/api/v2/documents/status/{job_id}/events"))
    await asyncio.sleep(0.05)
    await api_parts.process(parts, TEXT)
    async with asyncio.timeout(30):
        answer = await watching
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = await read_events(answer)
    statuses = [(data["status"], number) for name, data, number in events if name == "status"]
    assert statuses[-1] == ("completed", 5)
    assert [number for _, number in statuses] == sorted({number for _, number in statuses})
    assert [status for status, _ in statuses][:1] == ["pending"]
    assert events[-1][1]["total_chunks"] == 1 and events[-1][1]["progress"] == 100


async def test_a_late_subscriber_gets_the_current_state_and_the_end(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = (await upload(client)).json()["job_id"]
    await api_parts.process(parts, TEXT)
    await api_parts.finished(client, job_id)
    url = f"/api/v2/documents/status/{job_id}/events"
    assert [(name, data["status"]) for name, data, _ in await read_events(await client.get(url))] == [
        ("status", "completed")
    ]
    missed = await read_events(await client.get(url, headers={"Last-Event-ID": "2"}))
    assert [(data["status"], number) for _, data, number in missed] == [
        ("chunking", 3), ("embedding", 4), ("completed", 5)
    ]  # fmt: skip
    assert all("searchable" not in data and "processed_chunks" not in data for _, data, _ in missed[:-1])
    assert [data["updated_at"] for _, data, _ in missed] == sorted({data["updated_at"] for _, data, _ in missed})
    assert (missed[-1][1]["searchable"], missed[-1][1]["processed_chunks"]) == (True, 1)
    assert (await client.get(url, headers={"Last-Event-ID": "5"})).status_code == 204
    assert (await client.get(url, headers={"Last-Event-ID": "rubbish"})).status_code == 200


@pytest.mark.parametrize("seen", ["4", "9999"], ids=["the last", "one never given"])
async def test_events_go_on_after_the_last_one_seen(client: httpx.AsyncClient, parts: Any, seen: str) -> None:
    job_id = (await upload(client)).json()["job_id"]
    await api_parts.ingest(parts, TEXT)
    url = f"/api/v2/documents/status/{job_id}/events"
    watching = asyncio.create_task(client.get(url, headers={"Last-Event-ID": seen}))
    await asyncio.sleep(0.05)
    await api_parts.embed(parts, TEXT)
    async with asyncio.timeout(30):
        events = await read_events(await watching)
    assert [(data["status"], number) for name, data, number in events if name == "status"] == [("completed", 5)]


async def test_events_end_when_the_document_is_deleted(client: httpx.AsyncClient) -> None:
    job_id = (await upload(client)).json()["job_id"]
    watching = asyncio.create_task(client.get(f"/api/v2/documents/status/{job_id}/events"))
    await asyncio.sleep(0.05)
    await client.delete(f"/api/v2/documents/{job_id}")
    async with asyncio.timeout(10):
        events = await read_events(await watching)
    assert events[-1][0] == "deleted"
