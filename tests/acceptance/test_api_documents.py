"""Status, list, content and pages of documents; cancel, retry, delete."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.acceptance import api_parts
from tests.acceptance.api_kit import TEXT, is_problem, make_searchable, upload

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)


async def test_ids_that_name_nothing(client: httpx.AsyncClient) -> None:
    for job_id in (str(uuid4()), "not-an-id", "0", "%00"):
        for method, path in [
            ("GET", f"status/{job_id}"), ("GET", f"status/{job_id}/events"), ("GET", f"{job_id}/content"),
            ("GET", f"{job_id}/pages/1"), ("GET", f"{job_id}/report"), ("POST", f"{job_id}/cancel"),
            ("POST", f"{job_id}/retry"), ("DELETE", job_id),
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


async def test_many_documents_can_be_asked_about_at_once(client: httpx.AsyncClient) -> None:
    ids = [(await upload(client, f"text {n}".encode(), collection="ab"[n % 2])).json()["job_id"] for n in range(4)]

    async def found(**params: Any) -> list[str]:
        page = (await client.get("/api/v2/documents", params=params)).json()
        assert page["next_cursor"] is None
        return [job["job_id"] for job in page["jobs"]]

    assert await found(job_id=[ids[0], ids[3], str(uuid4())], limit=1) == [ids[3], ids[0]]
    assert await found(job_id=ids, collection="a") == [ids[2], ids[0]]
    assert await found(job_id=ids, status="failed") == []


REFUSED_LISTS: list[Any] = [
    ("job_id=x", "job_id"),
    ("&".join(f"job_id={uuid4()}" for _ in range(101)), "job_id"),
    ("limit=0", "limit"),
    ("limit=201", "200"),
    ("limit=x", "limit"),
    ("status=done", "status"),
    ("cursor=zzz", "cursor"),
    ("cursor=" + "x" * 300, "cursor"),
    ("collection=a%20b", "The name of a collection has 1 to 64 characters"),
    ("collection=", "The name of a collection has 1 to 64 characters"),
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
    outside = await client.get(url, headers={"Range": f"bytes={len(body)}-"})
    is_problem(outside, 416, "range_not_satisfiable")
    assert outside.headers["content-range"] == f"bytes */{len(body)}"
    etag = answer.headers["etag"]
    assert (await client.get(url, headers={"If-None-Match": etag})).status_code == 304
    assert (await client.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'})).status_code == 200


async def test_the_head_of_the_content_is_that_of_the_whole_answer(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = (await upload(client)).json()["job_id"]
    url = f"/api/v2/documents/{job_id}/content"
    for headers in ({}, {"Range": "bytes=0-9"}, {"Range": "bytes=9999-"}):
        whole, head = await client.get(url, headers=headers), await client.head(url, headers=headers)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        own = {name: value for name, value in head.headers.items() if name != "x-request-id"}
        assert own == {name: whole.headers[name] for name in own}
        assert head.headers["content-length"] == whole.headers["content-length"]
    assert (await client.head(url.replace(job_id, str(uuid4())))).status_code == 404


async def test_cancel_then_retry(client: httpx.AsyncClient) -> None:
    job_id = (await upload(client)).json()["job_id"]
    is_problem(await client.post(f"/api/v2/documents/{job_id}/retry"), 409, "conflict", "pending")
    cancelled = await client.post(f"/api/v2/documents/{job_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["error"]["code"] == "cancelled"
    again = await client.post(f"/api/v2/documents/{job_id}/cancel")
    assert (again.status_code, again.json()) == (200, cancelled.json())
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


async def test_the_report_says_what_happened(client: httpx.AsyncClient, parts: Any) -> None:
    job_id = await make_searchable(client, parts, TEXT)
    report = (await client.get(f"/api/v2/documents/{job_id}/report")).json()
    assert report["reading"]["chunks"] == report["vectors"]["computed"] + report["vectors"]["found"] > 0
    assert [stage["stage"] for stage in report["stages"]] == ["wait", "parse", "chunk", "embed", "index"]
    assert [step["status"] for step in report["attempts"][0]["steps"]][-1] == "completed"
    assert TEXT[:20] not in json.dumps(report)
