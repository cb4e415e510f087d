"""Every call of the HTTP API and every way it refuses, on real parts, in this process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from datadistiller import errors, messages
from datadistiller.api.app import create_app
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.queueing.kafka_client import Access
from datadistiller.queueing.kafka_publisher import KafkaPublisher
from datadistiller.store.database import Database
from tests.acceptance import api_parts

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)
TEXT = "The lighthouse of Kermorvan was built in 1849. It stands on a rock above the sea."


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    return OnnxEmbedder()


@pytest.fixture
async def parts(database: Database, tmp_path: Path, embedder: OnnxEmbedder) -> AsyncIterator[Any]:
    async with api_parts.api_parts(
        database, tmp_path, embedder, max_upload_bytes=300_000, max_question_chars=200, max_top_k=20
    ) as made:
        yield made


@pytest.fixture
async def client(parts: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as made:
        yield made


async def upload(
    client: httpx.AsyncClient, body: bytes = TEXT.encode(), name: str = "a.txt", key: str | None = None, **fields: str
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    files = {"file": (name, body)}
    return await client.post("/api/v2/documents/upload", files=files, data=fields, headers=headers)


def stored(parts: Any) -> list[str]:
    root = parts.settings.data_dir / "objects"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


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


# --- upload


async def test_an_upload_is_accepted(client: httpx.AsyncClient, parts: Any) -> None:
    answer = await upload(client, name="Bericht über 2024.txt", collection="reports", metadata='{"year": 2024}')
    body = answer.json()
    assert answer.status_code == 202
    assert body == {
        "job_id": body["job_id"], "status": "pending", "message": "Document upload accepted", "duplicate": False,
        "filename": "Bericht über 2024.txt", "file_size": len(TEXT), "collection": "reports",
    }  # fmt: skip
    assert answer.headers["location"] == f"/api/v2/documents/status/{body['job_id']}"
    assert stored(parts) == [f"uploads/{body['job_id']}/Bericht über 2024.txt"]
    status = (await client.get(answer.headers["location"])).json()
    assert status["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    assert (status["status"], status["progress"], status["metadata"]) == ("pending", 0, {"year": 2024})
    assert (status["priority"], status["media_type"], status["error"]) == ("interactive", "text/plain", None)


async def test_an_upload_wakes_the_ingest_workers(client: httpx.AsyncClient, parts: Any) -> None:
    with parts.signals.subscribe("dd_work", messages.INGEST_TOPIC) as woken:
        await upload(client)
        async with asyncio.timeout(10):
            await woken.wait()
    assert len(await api_parts.claim(parts, messages.INGEST_TOPIC)) == 1


async def test_the_priority_is_recorded(client: httpx.AsyncClient) -> None:
    body = (await upload(client, priority="bulk")).json()
    assert (await client.get(f"/api/v2/documents/status/{body['job_id']}")).json()["priority"] == "bulk"


ODD_NAMES: list[Any] = ["../../etc/passwd.txt", 'quo"te.txt', "emoji 📄.txt", "x" * 300 + ".txt", "a\nb.txt"]


async def test_odd_names_are_taken_and_given_back(client: httpx.AsyncClient, parts: Any) -> None:
    for n, name in enumerate(ODD_NAMES):
        body = (await upload(client, f"text {n}".encode(), name)).json()
        assert body["filename"].endswith(".txt") and "/" not in body["filename"] and "\n" not in body["filename"]
        content = await client.get(f"/api/v2/documents/{body['job_id']}/content")
        assert content.text == f"text {n}"
        content.headers["content-disposition"].encode("ascii")
    assert len(stored(parts)) == len(ODD_NAMES)
    assert all(len(key.encode()) < 255 and ".." not in key for key in stored(parts))


REFUSED_FILES: list[Any] = [
    (b"", "a.txt", 400, "file_empty"),
    (b"", "a.pdf", 400, "file_empty"),
    (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "a.txt", 415, "unsupported_type"),
    (bytes(range(256)) * 10, "a.bin", 415, "unsupported_type"),
    (b"a" * 300_001, "a.txt", 413, "file_too_large"),
    (b"a" * 2_000_000, "a.txt", 413, "file_too_large"),
]


async def test_files_that_are_refused(client: httpx.AsyncClient, parts: Any) -> None:
    for body, name, status, code in REFUSED_FILES:
        is_problem(await upload(client, body, name), status, code, "300000" if status == 413 else "")
        assert stored(parts) == []
    assert await parts.jobs.unfinished_count() == 0


REFUSED_FIELDS: list[Any] = [
    ({"collection": "a b"}, "collection"),
    ({"collection": "-x"}, "collection"),
    ({"collection": "x" * 65}, "collection"),
    ({"collection": "x\n"}, "collection"),
    ({"priority": "high"}, "priority"),
    ({"metadata": "{"}, "not valid JSON"),
    ({"metadata": "[1]"}, "object"),
    ({"metadata": '"x"'}, "object"),
    ({"metadata": '{"a": "\\u0000"}'}, "NUL"),
    ({"metadata": '{"a\\u0000": 1}'}, "NUL"),
    ({"metadata": '{"a": "\\ud800"}'}, "surrogate"),
    ({"metadata": '{"a": NaN}'}, "number"),
    ({"metadata": '{"a": 1e999}'}, "number"),
    ({"metadata": '{"a": ' + "[" * 20 + "]" * 20 + "}"}, "deeper"),
    ({"metadata": '{"a": ' + "[" * 8000 + "]" * 8000 + "}"}, "metadata"),
    ({"metadata": '{"a": "' + "x" * 17_000 + '"}'}, "16384"),
    ({"colection": "x"}, "'colection'"),
]


async def test_fields_that_are_refused(client: httpx.AsyncClient, parts: Any) -> None:
    for fields, says in REFUSED_FIELDS:
        is_problem(await upload(client, **fields), 422, "invalid_request", says)
        assert stored(parts) == []


async def test_deep_but_sound_metadata_is_kept(client: httpx.AsyncClient) -> None:
    metadata = {"a": {"b": [1, 2.5, None, True, "ü😀"]}, "n": 12345678901234567890123}
    job_id = (await upload(client, metadata=json.dumps(metadata))).json()["job_id"]
    assert (await client.get(f"/api/v2/documents/status/{job_id}")).json()["metadata"] == metadata


async def test_bodies_that_are_no_form(client: httpx.AsyncClient, parts: Any) -> None:
    url = "/api/v2/documents/upload"
    is_problem(await client.post(url, json={"file": "x"}), 422, "invalid_request", "multipart")
    is_problem(await client.post(url, files={"document": ("a.txt", b"x")}), 422, "invalid_request")
    two = [("file", ("a.txt", TEXT.encode())), ("file", ("b.txt", b"y"))]
    is_problem(await client.post(url, files=two), 422, "invalid_request", "more than one")
    assert stored(parts) == []


REFUSED_KEYS: list[Any] = ["a b", "x" * 256, ""]


async def test_keys_that_are_refused(client: httpx.AsyncClient) -> None:
    for key in REFUSED_KEYS:
        answer = await client.post(
            "/api/v2/documents/upload", files={"file": ("a.txt", b"x")}, headers={"Idempotency-Key": key}
        )
        is_problem(answer, 422, "invalid_request", "idempotency-key")


async def test_the_same_bytes_are_one_document(client: httpx.AsyncClient, parts: Any) -> None:
    first = (await upload(client)).json()
    again = (await upload(client, name="other name.txt")).json()
    assert (again["job_id"], again["duplicate"], again["filename"]) == (first["job_id"], True, "a.txt")
    elsewhere = (await upload(client, collection="other")).json()
    assert elsewhere["job_id"] != first["job_id"] and not elsewhere["duplicate"]
    assert len(stored(parts)) == 2


async def test_the_same_bytes_at_once_are_one_document(client: httpx.AsyncClient, parts: Any) -> None:
    answers = await asyncio.gather(*(upload(client, name=f"{n}.txt") for n in range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert sum(not answer.json()["duplicate"] for answer in answers) == 1
    assert len(stored(parts)) == 1
    assert len(await api_parts.claim(parts, messages.INGEST_TOPIC)) == 1


async def test_bytes_of_a_cancelled_document_start_a_new_attempt(client: httpx.AsyncClient, parts: Any) -> None:
    first = (await upload(client)).json()
    await client.post(f"/api/v2/documents/{first['job_id']}/cancel")
    again = (await upload(client)).json()
    assert (again["job_id"], again["status"], again["duplicate"]) == (first["job_id"], "pending", True)
    assert (await client.get(f"/api/v2/documents/status/{first['job_id']}")).json()["attempt"] == 2
    assert len(stored(parts)) == 1


async def test_a_lost_object_comes_back_with_a_second_upload(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = (await upload(client)).json()["job_id"]
    await parts.objects.delete_prefix(f"uploads/{job_id}/")
    is_problem(await client.get(f"/api/v2/documents/{job_id}/content"), 503, "object_missing")
    assert (await upload(client)).json()["job_id"] == job_id
    assert (await client.get(f"/api/v2/documents/{job_id}/content")).text == TEXT
    assert len(stored(parts)) == 1


async def test_a_repeated_key_gives_the_same_answer(client: httpx.AsyncClient, parts: Any) -> None:
    first = await upload(client, key="k-1", collection="c")
    await client.post(f"/api/v2/documents/{first.json()['job_id']}/cancel")
    again = await upload(client, key="k-1", collection="c")
    assert again.status_code == 202 and again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers
    assert len(stored(parts)) == 1


@pytest.mark.parametrize(
    "other", [{"body": b"other text"}, {"name": "b.txt"}, {"collection": "d"}, {"metadata": '{"a": 1}'}]
)
async def test_a_key_with_another_request_is_refused(
    client: httpx.AsyncClient, parts: Any, other: dict[str, Any]
) -> None:
    await upload(client, key="k-1", collection="c")
    is_problem(await upload(client, key="k-1", **{"collection": "c", **other}), 422, "idempotency_mismatch")
    assert len(stored(parts)) == 1


async def test_the_same_key_at_once_is_one_document(client: httpx.AsyncClient, parts: Any) -> None:
    answers = await asyncio.gather(*(upload(client, key="k-1") for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {202, 503}
    assert len({answer.json()["job_id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(await api_parts.claim(parts, messages.INGEST_TOPIC)) == 1


# --- overload and outage


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
            assert len(stored(parts)) == 1


async def test_a_nearly_full_disk_is_answered_before_the_body(
    database: Database, tmp_path: Path, embedder: OnnxEmbedder
) -> None:
    async with api_parts.api_parts(database, tmp_path, embedder, min_free_disk_bytes=2**60) as parts:
        transport = httpx.ASGITransport(create_app(parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            is_problem(await upload(client), 503, "capacity", "full")
            assert stored(parts) == []


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
    assert stored(parts) == []
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
    assert len(stored(parts)) == 1


# --- status, list, content, pages


async def test_ids_that_name_nothing(client: httpx.AsyncClient) -> None:
    for job_id in (str(uuid4()), "not-an-id", "0", "%00"):
        for method, path in [
            ("GET", f"status/{job_id}"), ("GET", f"status/{job_id}/events"), ("GET", f"{job_id}/content"),
            ("GET", f"{job_id}/pages/1"), ("POST", f"{job_id}/cancel"), ("POST", f"{job_id}/retry"),
            ("DELETE", job_id),
        ]:  # fmt: skip
            is_problem(await client.request(method, f"/api/v2/documents/{path}"), 404, "job_not_found")


async def test_the_list_is_newest_first_and_paged(client: httpx.AsyncClient) -> None:
    ids = [(await upload(client, f"text {n}".encode(), collection="ab"[n % 2])).json()["job_id"] for n in range(5)]
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = (
            await client.get("/api/v2/documents", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        ).json()
        seen += [job["job_id"] for job in page["jobs"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert seen == ids[::-1] and pages == 3
    only_a = (await client.get("/api/v2/documents", params={"collection": "a", "status": "pending"})).json()
    assert [job["job_id"] for job in only_a["jobs"]] == ids[4::-2]
    assert (await client.get("/api/v2/documents", params={"status": "failed"})).json() == {
        "jobs": [],
        "next_cursor": None,
    }


REFUSED_LISTS: list[Any] = [
    ("limit=0", "limit"),
    ("limit=201", "200"),
    ("limit=x", "limit"),
    ("status=done", "status"),
    ("cursor=zzz", "cursor"),
    ("cursor=" + "x" * 300, "cursor"),
    ("collection=a%20b", "collection"),
    ("cursor=%C3%BC", "cursor"),
]


async def test_lists_that_are_refused(client: httpx.AsyncClient) -> None:
    for query, says in REFUSED_LISTS:
        is_problem(await client.get(f"/api/v2/documents?{query}"), 422, "invalid_request", says)


async def test_the_content_is_what_was_uploaded(client: httpx.AsyncClient) -> None:
    body = b"<html><body><script>alert(1)</script><p>Hello, this is a page.</p></body></html>" * 2000
    name = 'Über "uns"; 📄.html'
    job_id = (await upload(client, body, name)).json()["job_id"]
    url = f"/api/v2/documents/{job_id}/content"
    answer = await client.get(url)
    assert answer.content == body
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"_ber _uns_; _.html\"; filename*=UTF-8''%C3%9Cber%20%22uns%22%3B%20%F0%9F%93%84.html"
    )
    part = await client.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, body[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(body)}"
    assert (await client.get(url, headers={"Range": "bytes=-5"})).content == body[-5:]
    assert (await client.get(url, headers={"Range": f"bytes={len(body) - 3}-"})).content == body[-3:]
    assert (await client.get(url, headers={"Range": "bytes=0-1,5-6"})).status_code == 200
    is_problem(await client.get(url, headers={"Range": f"bytes={len(body)}-"}), 416, "range_not_satisfiable")
    etag = answer.headers["etag"]
    assert (await client.get(url, headers={"If-None-Match": etag})).status_code == 304
    assert (await client.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'})).status_code == 200


async def test_the_text_of_a_page(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = (await upload(client)).json()["job_id"]
    is_problem(await client.get(f"/api/v2/documents/{job_id}/pages/1"), 404, "job_not_found")
    await api_parts.process(parts, TEXT)
    page = (await client.get(f"/api/v2/documents/{job_id}/pages/1")).json()
    assert page == {"job_id": job_id, "page": 1, "label": "", "text": TEXT}
    is_problem(await client.get(f"/api/v2/documents/{job_id}/pages/0"), 422, "invalid_request", "page")


# --- cancel, retry, delete


async def test_cancel_then_retry(client: httpx.AsyncClient) -> None:
    job_id = (await upload(client)).json()["job_id"]
    is_problem(await client.post(f"/api/v2/documents/{job_id}/retry"), 409, "conflict", "pending")
    cancelled = await client.post(f"/api/v2/documents/{job_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["error"]["code"] == "cancelled"
    is_problem(await client.post(f"/api/v2/documents/{job_id}/cancel"), 409, "conflict", "cancelled")
    again = await client.post(f"/api/v2/documents/{job_id}/retry")
    assert (again.status_code, again.json()["status"], again.json()["attempt"]) == (202, "pending", 2)


async def test_a_deleted_document_is_in_no_answer(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = (await upload(client)).json()["job_id"]
    await api_parts.process(parts, TEXT)
    await api_parts.finished(client, job_id)
    assert (await client.delete(f"/api/v2/documents/{job_id}")).status_code == 204
    assert (await client.post("/api/v2/query", json={"question": "lighthouse"})).json()["citations"] == []
    assert (await client.get("/api/v2/documents")).json()["jobs"] == []
    is_problem(await client.delete(f"/api/v2/documents/{job_id}"), 404, "job_not_found")
    is_problem(await client.get(f"/api/v2/documents/{job_id}/content"), 404, "job_not_found")


# --- events


async def read_events(response: httpx.Response) -> list[tuple[str, Any, int | None]]:
    """All events of a stream: name, data, id."""
    found = []
    async for block in blocks(response):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            number = int(fields["id"]) if "id" in fields else None
            found.append((fields["event"], json.loads(fields["data"]), number))
    return found


async def blocks(response: httpx.Response) -> AsyncIterator[str]:
    waiting = ""
    async for text in response.aiter_text():
        waiting += text
        while "\n\n" in waiting:
            block, _, waiting = waiting.partition("\n\n")
            yield block


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
    assert (await client.get(url, headers={"Last-Event-ID": "5"})).status_code == 204
    assert (await client.get(url, headers={"Last-Event-ID": "rubbish"})).status_code == 200


async def test_events_end_when_the_document_is_deleted(client: httpx.AsyncClient) -> None:
    job_id = (await upload(client)).json()["job_id"]
    watching = asyncio.create_task(client.get(f"/api/v2/documents/status/{job_id}/events"))
    await asyncio.sleep(0.05)
    await client.delete(f"/api/v2/documents/{job_id}")
    async with asyncio.timeout(10):
        events = await read_events(await watching)
    assert events[-1][0] == "deleted"


# --- query


async def make_searchable(client: httpx.AsyncClient, parts: Any, text: str, **fields: str) -> str:
    job_id = str((await upload(client, text.encode(), **fields)).json()["job_id"])
    await api_parts.process(parts, text)
    assert (await api_parts.finished(client, job_id))["status"] == "completed"
    return job_id


MODES: list[Any] = ["hybrid", "vector", "keyword"]


async def test_a_question_gets_an_answer_with_true_citations(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = await make_searchable(client, parts, TEXT, metadata='{"kind": "sight"}')
    page = (await client.get(f"/api/v2/documents/{job_id}/pages/1")).json()["text"]
    for mode in MODES:
        answer = await client.post("/api/v2/query", json={"question": "When was the lighthouse built?", "mode": mode})
        body = answer.json()
        assert answer.status_code == 200 and body["took_ms"] > 0
        assert body["question"] == "When was the lighthouse built?"
        (citation,) = body["citations"]
        assert (citation["job_id"], citation["filename"], citation["page"]) == (job_id, "a.txt", 1)
        assert citation["metadata"] == {"kind": "sight"} and citation["number"] == 1
        assert page[citation["start"] : citation["end"]] == citation["text"]
        assert body["answered"] and "1849" in body["answer"]
        for sentence in body["sentences"]:
            assert page[sentence["start"] : sentence["end"]] == sentence["text"]


async def test_questions_can_be_restricted(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = await make_searchable(client, parts, TEXT, collection="a", metadata='{"year": 1849}')

    async def found(**more: Any) -> list[str]:
        answer = await client.post("/api/v2/query", json={"question": "lighthouse", **more})
        return [citation["job_id"] for citation in answer.json()["citations"]]

    assert await found() == await found(collection="a") == await found(filter={"year": 1849}) == [job_id]
    assert await found(filter={"year": {"$gte": 1800, "$lt": 1900}}) == [job_id]
    assert await found(collection="b") == await found(filter={"year": 1850}) == []


async def test_an_answer_can_be_left_out(client: httpx.AsyncClient, parts: Any) -> None:
    await make_searchable(client, parts, TEXT)
    body = (await client.post("/api/v2/query", json={"question": "lighthouse", "answer": False})).json()
    assert body["answer"] is None and len(body["citations"]) == 1


async def test_an_answer_streams_if_asked_to(client: httpx.AsyncClient, parts: Any) -> None:
    await make_searchable(client, parts, TEXT)
    question = {"question": "When was the lighthouse built?"}
    answer = await client.post("/api/v2/query", json=question, headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = await read_events(answer)
    assert events[0][0] == "citations" and events[-1][0] == "done"
    assert {name for name, _, _ in events[1:-1]} == {"sentence"}
    assert events[-1][1]["citations"] == events[0][1]


REFUSED_QUESTIONS: list[Any] = [
    ({}, "question"),
    ({"question": ""}, "question"),
    ({"question": "  \n"}, "empty"),
    ({"question": "x" * 201}, "limit is 200"),
    ({"question": "x" * 100_000}, "limit is 200"),
    ({"question": "a\0b"}, "question"),
    ({"question": 5}, "question"),
    ({"question": "x", "top_k": 0}, "top_k"),
    ({"question": "x", "top_k": 21}, "1 to 20"),
    ({"question": "x", "top_k": "many"}, "top_k"),
    ({"question": "x", "mode": "magic"}, "mode"),
    ({"question": "x", "filter": []}, "filter"),
    ({"question": "x", "filter": {"a": {"$regex": "x"}}}, "$regex"),
    ({"question": "x", "filter": {"a\0": 1}}, "filter"),
    ({"question": "x", "filter": {"a": {"$in": "x"}}}, "$in"),
    ({"question": "x", "collection": "a b"}, "collection"),
    ({"question": "x", "topk": 5}, "topk"),
    ([], "JSON object"),
]


async def test_questions_that_are_refused(client: httpx.AsyncClient) -> None:
    for body, says in REFUSED_QUESTIONS:
        is_problem(await client.post("/api/v2/query", json=body), 422, "invalid_request", says)


async def test_bodies_that_are_no_question(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    for content in (b"{", b"", b'{"question": "\xff"}', b'{"question": "x", "filter": {"a": NaN}}'):
        answer = await client.post("/api/v2/query", content=content, headers=headers)
        is_problem(answer, 422, "invalid_request")


ODD_QUESTIONS: list[Any] = [
    "?",
    "'; DROP TABLE document_jobs; --",
    "(a OR",
    'title:"x" AND NOT *',
    ".*(?=[",
    "a^b~2 [x TO y]",
    "\u202e😀",
    "%",
]


async def test_any_text_is_a_question(client: httpx.AsyncClient, parts: Any) -> None:
    await make_searchable(client, parts, TEXT)
    for question in ODD_QUESTIONS:
        assert (await client.post("/api/v2/query", json={"question": question})).status_code == 200, question


# --- operations


async def test_health_names_what_is_down(client: httpx.AsyncClient, parts: Any) -> None:
    await api_parts.ready(client)
    without = await client.get("/health")
    assert without.status_code == 503 and without.json()["status"] == "unhealthy"
    assert without.json()["down"] == ["workers"] and "ingest" in without.json()["workers"]["detail"]
    await api_parts.register_workers(parts)
    body = (await client.get("/health")).json()
    assert body["status"] == "healthy" and body["down"] == []
    assert body["workers"]["roles"] == {"ingest": 1, "embed": 1}
    assert {body[name]["status"] for name in ("database", "objects", "index", "workers")} == {"up"}
    assert body["queue"] is None


async def test_a_broker_that_is_away_is_named(client: httpx.AsyncClient, parts: Any) -> None:
    parts.publisher = KafkaPublisher(Access("kafka://127.0.0.1:1"))
    await api_parts.ready(client)
    await api_parts.register_workers(parts)
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
    is_problem(await client.get(url), 404, "job_not_found")
    other = f"/api/v2/dead-letters/{rest['dead_letters'][0]['dead_id']}"
    assert (await client.delete(other)).status_code == 204
    for method, path in [("GET", other), ("DELETE", other), ("POST", f"{other}/replay")]:
        is_problem(await client.request(method, path), 404, "job_not_found")
    is_problem(await client.get("/api/v2/dead-letters?cursor=x"), 422, "invalid_request", "cursor")
    is_problem(await client.get("/api/v2/dead-letters/x"), 422, "invalid_request")


async def test_the_index_can_be_rebuilt(client: httpx.AsyncClient, parts: Any) -> None:
    await make_searchable(client, parts, TEXT)
    assert (await client.post("/api/v2/index/rebuild")).status_code == 202
    assert len((await client.post("/api/v2/query", json={"question": "lighthouse"})).json()["citations"]) == 1


# --- who may call


LOOPBACK: list[Any] = ["localhost:8000", "127.0.0.1", "[::1]:9000", "127.9.9.9"]


async def test_loopback_names_may_call(client: httpx.AsyncClient) -> None:
    for host in LOOPBACK:
        assert (await client.get("/livez", headers={"Host": host})).status_code == 200, host


STRANGERS: list[Any] = ["evil.example", "localhost.evil.example:8000", "10.0.0.1", "[bad"]


async def test_other_names_may_not(client: httpx.AsyncClient) -> None:
    for host in STRANGERS:
        is_problem(await client.get("/livez", headers={"Host": host}), 403, "site_refused", "Host")


FOREIGN_PAGES: list[Any] = ["http://evil.example", "https://localhost.evil.example", "null", ""]


async def test_pages_of_other_sites_change_nothing(client: httpx.AsyncClient) -> None:
    job_id = (await upload(client)).json()["job_id"]
    for origin in FOREIGN_PAGES:
        for method, path in [("POST", f"{job_id}/cancel"), ("DELETE", job_id), ("POST", "upload")]:
            answer = await client.request(method, f"/api/v2/documents/{path}", headers={"Origin": origin})
            is_problem(answer, 403, "site_refused")
    assert (await client.get(f"/api/v2/documents/status/{job_id}")).json()["status"] == "pending"
    fine = await client.post(f"/api/v2/documents/{job_id}/cancel", headers={"Origin": "http://localhost:5173"})
    assert fine.status_code == 200


async def test_unknown_paths_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    is_problem(await client.get("/api/v3"), 404, "not_found")
    refused = await client.put("/health")
    is_problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "GET"


async def test_a_defect_shows_nothing_of_its_inside(
    client: httpx.AsyncClient, parts: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object) -> None:  # nothing real raises an unknown error on demand
        raise KeyError("secret of a document")

    monkeypatch.setattr(parts.jobs, "get", broken)
    answer = await client.get(f"/api/v2/documents/status/{uuid4()}")
    is_problem(answer, 500, "internal_error")
    assert "secret" not in answer.text


async def test_a_request_id_is_kept_if_it_is_sound(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez", headers={"X-Request-ID": "abc-1"})).headers["x-request-id"] == "abc-1"
    assert (await client.get("/livez", headers={"X-Request-ID": "a b\t"})).headers["x-request-id"] != "a b"


async def test_the_documentation_needs_no_other_server(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).headers["location"] == "/docs"
    page = await client.get("/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) >= 3
    for address in loaded:
        assert (await client.get(address)).status_code == 200, address
