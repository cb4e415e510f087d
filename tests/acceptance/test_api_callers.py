"""Who may call, and what nobody is shown."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.acceptance.api_kit import is_problem, upload

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)


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
