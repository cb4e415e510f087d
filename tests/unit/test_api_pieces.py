"""The pieces of the API that need no store: problems, middleware, admission, ranges, names, the OpenAPI schema."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from datadistiller import errors, settings
from datadistiller.api import admission, documents, middleware, problems
from datadistiller.api.app import create_app


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    parts: Any = SimpleNamespace(
        settings=settings.Settings(max_top_k=7, max_question_chars=99), objects=None, jobs=None
    )
    return create_app(parts).openapi()


def operations(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{verb} {path}", call) for path, calls in schema["paths"].items() for verb, call in calls.items()]


# --- problems


def test_every_error_of_ours_has_a_status() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert all(400 <= problems.status_of(kind) <= 599 for kind in kinds)
    assert problems.status_of(errors.IdempotencyMismatch) == 422
    assert problems.status_of(errors.BrokenInvariant) == 500
    assert problems.status_of(errors.ObjectMissing) == 503


def test_retry_after_is_whole_seconds() -> None:
    request = Request({"type": "http", "method": "GET", "path": "/x", "raw_path": b"/x", "headers": []})
    assert problems.of_error(request, errors.Overloaded(retry_after=0.2)).headers["retry-after"] == "1"
    assert problems.of_error(request, errors.CapacityError(retry_after=29.5)).headers["retry-after"] == "30"
    assert "retry-after" not in problems.of_error(request, errors.JobNotFound()).headers


# --- the OpenAPI schema


def test_each_operation_is_complete_enough_to_generate_a_client(schema: dict[str, Any]) -> None:
    ids = [call["operationId"] for _, call in operations(schema)]
    assert len(set(ids)) == len(ids) and all(name.isidentifier() for name in ids)
    for name, call in operations(schema):
        assert call["summary"] and call["description"], name
        for status, answer in call["responses"].items():
            assert answer["description"], f"{name} {status}"
            if status[0] in "45" and "/api/" in name:
                body = answer["content"]["application/problem+json"]
                assert body["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert all(example["value"]["status"] == int(status) for example in body["examples"].values())


def test_references_lead_somewhere(schema: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    known = {f"#/components/schemas/{name}" for name in schema["components"]["schemas"]}
    assert set(references(schema)) <= known
    assert known - set(references(schema)) == set()


def test_limits_of_the_settings_are_in_the_schema(schema: dict[str, Any]) -> None:
    fields = schema["components"]["schemas"]["QueryRequest"]["properties"]
    assert (fields["top_k"]["maximum"], fields["question"]["maxLength"]) == (7, 99)


# --- content


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_name_makes_a_harmless_disposition(name: str) -> None:
    header = documents.disposition(name)
    header.encode("ascii")
    assert "\r" not in header and "\n" not in header
    plain, _, extended = header.removeprefix('attachment; filename="').partition("\"; filename*=UTF-8''")
    assert '"' not in plain and ";" not in extended and '"' not in extended
    assert unquote(extended) == name


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None), ("bytes=0-0", (0, 1)), ("bytes=2-", (2, 10)), ("bytes=-3", (7, 10)), ("bytes=-99", (0, 10)),
        ("bytes=5-99", (5, 10)), ("bytes=0-9", (0, 10)), ("bytes=-", None), ("bytes=5-2", None), ("lines=1-2", None),
        ("bytes=0-1,3-4", None), ("bytes=a-b", None),
    ],
)  # fmt: skip
def test_ranges(header: str | None, wanted: tuple[int, int] | None) -> None:
    assert documents.byte_range(header, 10) == wanted


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_ranges_outside(header: str, size: int) -> None:
    with pytest.raises(errors.RangeNotSatisfiable):
        documents.byte_range(header, size)


# --- overload


class Backlog:
    """So many unfinished documents, and so much free disk; how often each was asked for."""

    def __init__(self, unfinished: int = 0, free: int | None = None) -> None:
        self.unfinished = unfinished
        self.free = free
        self.asked = self.measured = 0

    async def unfinished_count(self) -> int:
        self.asked += 1
        return self.unfinished

    async def free_bytes(self) -> int | None:
        self.measured += 1
        return self.free


def gate(backlog: Backlog) -> admission.Admission:
    stores: Any = backlog
    return admission.Admission(stores, stores, admission.Limits(1000, 10, 50))


async def test_uploads_at_once_are_bounded() -> None:
    door = gate(Backlog())
    leave = asyncio.Event()
    inside = 0

    async def stay() -> None:
        nonlocal inside
        async with door.admit(0):
            inside += 1
            await leave.wait()

    stays = [asyncio.create_task(stay()) for _ in range(admission.UPLOADS_AT_ONCE)]
    await asyncio.sleep(0)
    assert inside == admission.UPLOADS_AT_ONCE
    with pytest.raises(errors.Overloaded):
        async with door.admit(0):
            pass
    leave.set()
    await asyncio.gather(*stays)
    async with door.admit(0):
        pass


async def test_the_backlog_is_not_counted_for_each_upload() -> None:
    backlog = Backlog(unfinished=9)
    door = gate(backlog)
    for _ in range(20):
        async with door.admit(0):
            pass
    assert backlog.asked == 1


async def test_the_disk_is_not_measured_for_each_upload_but_what_was_admitted_counts() -> None:
    backlog = Backlog(free=100)
    door = gate(backlog)
    for _ in range(5):
        async with door.admit(10):
            pass
    with pytest.raises(errors.CapacityError):
        async with door.admit(1):
            pass
    assert backlog.measured == 1


@pytest.mark.parametrize(
    ("backlog", "announced", "kind"),
    [
        (Backlog(unfinished=10), 0, errors.Overloaded),
        (Backlog(free=49), 0, errors.CapacityError),
        (Backlog(free=100), 51, errors.CapacityError),
        (Backlog(), (1 << 20) + 1001, errors.FileTooLarge),
    ],
)
async def test_what_is_refused_at_the_door(backlog: Backlog, announced: int, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        async with gate(backlog).admit(announced):
            pass


async def test_requests_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "REQUESTS_AT_ONCE", 2)  # the bound itself, made small enough to reach
    leave = asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        await leave.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(middleware.Observed(waiting))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        running = [asyncio.create_task(client.get("/")) for _ in range(2)]
        await asyncio.sleep(0.01)
        refused = await client.get("/")
        assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
        leave.set()
        assert [(await answer).status_code for answer in running] == [200, 200]


@pytest.mark.parametrize(
    ("method", "route", "status", "level"),
    [
        ("GET", "/api/v2/documents/status/{job_id}", 200, "debug"),
        ("GET", "/api/v2/documents/status/{job_id}", 404, "info"),
        ("GET", "/api/v2/documents", 200, "debug"),
        ("POST", "/api/v2/query", 200, "info"),
        ("GET", "/health", 503, "debug"),
    ],
)
async def test_polls_do_not_fill_the_log(method: str, route: str, status: int, level: str) -> None:
    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = SimpleNamespace(path=route)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(middleware.Observed(answering))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with capture_logs() as logged:
            await client.request(method, "/")
    assert [(line["log_level"], line["route"]) for line in logged] == [(level, route)]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback(host: str) -> None:
    assert settings.is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.168.0.1", "localhost.example", "example"])
def test_not_loopback(host: str) -> None:
    assert not settings.is_loopback(host)
