"""POST /api/v2/query: answers with true citations, and every question that is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.acceptance.api_kit import TEXT, is_problem, make_searchable, read_events

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)


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
    ({"question": ""}, "The question is empty; it needs 1 to 200 characters."),
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
    ({"question": "x", "filter": {"$or": [{"a": 1}, {"a": 2}]}}, "$or"),
    ({"question": "x", "filter": {"a\0": 1}}, "filter"),
    ({"question": "x", "filter": {"a": {"$in": "x"}}}, "$in"),
    ({"question": "x", "collection": "a b"}, "The name of a collection has 1 to 64 characters"),
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


async def test_a_body_is_read_to_the_limit_only(client: httpx.AsyncClient) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b'{"question": "'
        while taken < 100 << 20:
            taken += 1 << 16
            yield b"x" * (1 << 16)

    answer = await client.post("/api/v2/query", content=endless(), headers={"Content-Type": "application/json"})
    is_problem(answer, 413, "body_too_large", "limit of 1048576 bytes")
    assert taken < 2 << 20


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
