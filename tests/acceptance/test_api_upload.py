"""POST /api/v2/documents/upload: what is accepted, what is refused, and what is the same document."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import httpx
import pytest

from datadistiller import messages
from tests.acceptance import api_parts
from tests.acceptance.api_kit import TEXT, is_problem, stored, upload

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)


async def test_an_upload_is_accepted(client: httpx.AsyncClient, parts: Any) -> None:
    answer = await upload(client, name="Bericht über 2024.txt", collection="reports", metadata='{"year": 2024}')
    body = answer.json()
    assert answer.status_code == 202
    assert body == {
        "job_id": body["job_id"], "status": "pending", "message": "Document upload accepted", "duplicate": False,
        "filename": "Bericht über 2024.txt", "file_size": len(TEXT), "collection": "reports",
    }  # fmt: skip
    assert answer.headers["location"] == f"/api/v2/documents/status/{body['job_id']}"
    assert await stored(parts) == [f"uploads/{body['job_id']}/Bericht über 2024.txt"]
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
    assert len(await stored(parts)) == len(ODD_NAMES)
    assert all(len(key.encode()) < 255 and ".." not in key for key in await stored(parts))


REFUSED_FILES: list[Any] = [
    (b"", "a.txt", 400, "file_empty"),
    (b"", "a.pdf", 400, "file_empty"),
    (b"\x7fELF\x02\x01\x01" + b"\0" * 100, "a.txt", 415, "unsupported_type"),
    (bytes(range(256)) * 10, "a.bin", 415, "unsupported_type"),
    (b"a" * 300_001, "a.txt", 413, "file_too_large"),
    (b"a" * 2_000_000, "a.txt", 413, "file_too_large"),
]


async def test_files_that_are_refused(client: httpx.AsyncClient, parts: Any) -> None:
    for body, name, status, code in REFUSED_FILES:
        is_problem(await upload(client, body, name), status, code, "300000" if status == 413 else "")
        assert await stored(parts) == []
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
        assert await stored(parts) == []


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
    assert await stored(parts) == []


REFUSED_KEYS: list[Any] = ["a b", "x" * 256, ""]


async def test_keys_that_are_refused(client: httpx.AsyncClient) -> None:
    for key in REFUSED_KEYS:
        answer = await client.post(
            "/api/v2/documents/upload", files={"file": ("a.txt", b"x")}, headers={"Idempotency-Key": key}
        )
        problem = is_problem(answer, 422, "invalid_request", "Idempotency-Key has 1 to 255 characters")
        assert "^" not in problem["detail"], "a regular expression is for programs"


async def test_the_same_bytes_are_one_document(client: httpx.AsyncClient, parts: Any) -> None:
    first = (await upload(client)).json()
    again = (await upload(client, name="other name.txt")).json()
    assert (again["job_id"], again["duplicate"], again["filename"]) == (first["job_id"], True, "a.txt")
    elsewhere = (await upload(client, collection="other")).json()
    assert elsewhere["job_id"] != first["job_id"] and not elsewhere["duplicate"]
    assert len(await stored(parts)) == 2


async def test_the_same_bytes_at_once_are_one_document(client: httpx.AsyncClient, parts: Any) -> None:
    answers = await asyncio.gather(*(upload(client, name=f"{n}.txt") for n in range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert sum(not answer.json()["duplicate"] for answer in answers) == 1
    assert len(await stored(parts)) == 1
    assert len(await api_parts.claim(parts, messages.INGEST_TOPIC)) == 1


async def test_bytes_of_a_cancelled_document_start_a_new_attempt(client: httpx.AsyncClient, parts: Any) -> None:
    first = (await upload(client)).json()
    await client.post(f"/api/v2/documents/{first['job_id']}/cancel")
    again = (await upload(client)).json()
    assert (again["job_id"], again["status"], again["duplicate"]) == (first["job_id"], "pending", True)
    assert (await client.get(f"/api/v2/documents/status/{first['job_id']}")).json()["attempt"] == 2
    assert len(await stored(parts)) == 1


async def test_a_lost_object_comes_back_with_a_second_upload(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = (await upload(client)).json()["job_id"]
    await parts.objects.delete_prefix(f"uploads/{job_id}/")
    is_problem(await client.get(f"/api/v2/documents/{job_id}/content"), 503, "object_missing")
    assert (await upload(client)).json()["job_id"] == job_id
    assert (await client.get(f"/api/v2/documents/{job_id}/content")).text == TEXT
    assert len(await stored(parts)) == 1


async def test_a_repeated_key_gives_the_same_answer(client: httpx.AsyncClient, parts: Any) -> None:
    first = await upload(client, key="k-1", collection="c")
    await client.post(f"/api/v2/documents/{first.json()['job_id']}/cancel")
    again = await upload(client, key="k-1", collection="c")
    assert again.status_code == 202 and again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers
    assert len(await stored(parts)) == 1


@pytest.mark.parametrize(
    "other", [{"body": b"other text"}, {"name": "b.txt"}, {"collection": "d"}, {"metadata": '{"a": 1}'}]
)
async def test_a_key_with_another_request_is_refused(
    client: httpx.AsyncClient, parts: Any, other: dict[str, Any]
) -> None:
    await upload(client, key="k-1", collection="c")
    is_problem(await upload(client, key="k-1", **{"collection": "c", **other}), 422, "idempotency_mismatch")
    assert len(await stored(parts)) == 1


async def test_the_same_key_at_once_is_one_document(client: httpx.AsyncClient, parts: Any) -> None:
    answers = await asyncio.gather(*(upload(client, key="k-1") for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {202, 503}
    assert len({answer.json()["job_id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(await api_parts.claim(parts, messages.INGEST_TOPIC)) == 1
