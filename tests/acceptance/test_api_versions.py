"""A changed file for a document, over HTTP: what queries, status and content say before, while and after."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.acceptance import api_parts
from tests.acceptance.api_kit import TEXT, is_problem, make_searchable, stored

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)
CHANGED = TEXT.replace("1849", "1850")


async def put(
    client: httpx.AsyncClient, job_id: str, text: str = CHANGED, name: str = "b.txt", fields: Any = None, **headers: str
) -> httpx.Response:
    files = {"file": (name, text.encode())}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.put(f"/api/v2/documents/{job_id}", files=files, data=fields, headers=sent)


async def cited(client: httpx.AsyncClient) -> set[tuple[str, int, str]]:
    """Text, version and file name of what a question gets."""
    answer = await client.post("/api/v2/query", json={"question": "When was the lighthouse of Kermorvan built?"})
    return {(c["text"], c["version"], c["filename"]) for c in answer.json()["citations"]}


async def test_a_changed_file_is_found_when_it_is_complete(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = await make_searchable(client, parts, TEXT, metadata='{"year": 1}')
    accepted = await put(client, job_id)
    assert accepted.status_code == 202
    body = accepted.json()
    assert (body["job_id"], body["status"], body["version"], body["duplicate"]) == (job_id, "pending", 2, False)
    assert (body["filename"], body["file_size"]) == ("b.txt", len(CHANGED))
    await api_parts.ingest(parts, CHANGED)
    assert await cited(client) == {(TEXT, 1, "a.txt")}
    state = (await client.get(f"/api/v2/documents/status/{job_id}")).json()
    assert (state["status"], state["version"], state["next_version"], state["filename"]) == ("embedding", 1, 2, "a.txt")
    content = f"/api/v2/documents/{job_id}/content"
    assert (await client.get(content)).text == TEXT
    ahead = await client.get(content, params={"version": 2})
    assert ahead.text == CHANGED and ahead.headers["etag"] == accepted.headers["etag"]
    await api_parts.embed(parts, CHANGED)
    done = await api_parts.finished(client, job_id)
    assert (done["status"], done["version"], done["next_version"]) == ("completed", 2, None)
    assert (done["filename"], done["metadata"]) == ("b.txt", {"year": 1})
    assert await cited(client) == {(CHANGED, 2, "b.txt")}
    assert (await client.get(content)).text == CHANGED
    assert (await client.get(f"/api/v2/documents/{job_id}/pages/1")).json()["text"] == CHANGED
    is_problem(await client.get(content, params={"version": 1}), 404, "version_not_found")


async def test_what_is_refused_leaves_nothing(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = await make_searchable(client, parts, TEXT)
    before = await stored(parts)
    first = (await client.get(f"/api/v2/documents/{job_id}/content")).headers["etag"]
    is_problem(await put(client, job_id, ""), 400, "file_empty")
    is_problem(await put(client, job_id, "\0" * 300), 415, "unsupported_type")
    is_problem(await put(client, job_id, "x " * 200_000), 413, "file_too_large")
    is_problem(await put(client, job_id, fields={"collection": "b"}), 422, "invalid_request", "'collection'")
    is_problem(await put(client, job_id, fields={"priority": "now"}), 422, "invalid_request", "priority")
    for other in (f'"{"0" * 64}"', "W/" + first[:-2] + '"', "nonsense"):
        is_problem(await put(client, job_id, If_Match=other), 412, "version_changed")
    for unknown in ("0" * 8 + job_id[8:], "nonsense"):
        is_problem(await put(client, unknown), 404, "job_not_found")
    assert await stored(parts) == before
    assert (await client.get(f"/api/v2/documents/status/{job_id}")).json()["attempt"] == 1
    assert (await put(client, job_id, If_Match=f'"{"0" * 64}", {first}')).status_code == 202


async def test_the_same_again_is_done_once(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = await make_searchable(client, parts, TEXT)
    same = (await put(client, job_id, TEXT)).json()
    assert (same["duplicate"], same["status"], same["version"]) == (True, "completed", 1)
    first = await put(client, job_id, Idempotency_Key="k", fields={"metadata": '{"year": 2}'})
    again = await put(client, job_id, Idempotency_Key="k", fields={"metadata": '{"year": 2}'})
    assert again.headers["Idempotency-Replayed"] == "true" and again.json() == first.json()
    is_problem(await put(client, job_id, Idempotency_Key="k"), 422, "idempotency_mismatch")
    assert (await put(client, job_id)).json()["duplicate"]
    assert len(await stored(parts)) == 2
    await api_parts.process(parts, CHANGED)
    assert (await api_parts.finished(client, job_id))["metadata"] == {"year": 2}


async def test_a_delete_while_a_version_is_on_its_way(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = await make_searchable(client, parts, TEXT)
    await put(client, job_id)
    await api_parts.ingest(parts, CHANGED)
    assert (await client.delete(f"/api/v2/documents/{job_id}")).status_code == 204
    assert await cited(client) == set()
    is_problem(await put(client, job_id), 404, "job_not_found")
