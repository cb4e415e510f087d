"""A document whose parser dies of it, over HTTP: another parser reads it, the report says so, citations are true.

The process that crashes is the tests' own (``hostile_child``); the one of the second test is real.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from datadistiller.messages import INGEST_TOPIC
from datadistiller.parsing import formats
from datadistiller.runtime.sandbox import Limits, Sandbox
from tests.acceptance import api_parts
from tests.acceptance.api_kit import on_one_machine, upload
from tests.acceptance.children_kit import Workers
from tests.failure.test_sandbox import HOSTILE
from tests.fixtures import files

pytestmark = [pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True), on_one_machine]  # the parser decides
TEXT = "Drakes moult in June."


async def worked(client: httpx.AsyncClient, parts: Any, sandbox: Sandbox, job_id: str) -> dict[str, Any]:
    """Does the workers' part; the report at the end."""
    ingest = Workers(parts, sandbox).ingest
    await api_parts.settle(parts, *await ingest(await api_parts.claim(parts, INGEST_TOPIC)))
    await sandbox.close()
    await api_parts.embed(parts, TEXT)
    assert (await api_parts.finished(client, job_id))["status"] == "completed"
    report: dict[str, Any] = (await client.get(f"/api/v2/documents/{job_id}/report")).json()
    return report


async def test_after_a_crash(client: httpx.AsyncClient, parts: Any) -> None:
    pages = [["say", "Geese."], ["segfault"]]
    plan = json.dumps({"pages": pages, "then": {"pages": [["abort"], ["say", TEXT]]}})
    job_id = (await upload(client, plan.encode(), "plan.txt")).json()["job_id"]
    sandbox = Sandbox(Limits(), concurrency=1, command=HOSTILE, readers=lambda media_type, single_pages: 2)
    reading = (await worked(client, parts, sandbox, job_id))["reading"]
    assert reading["parser"] == "hostile, hostile 1"
    assert (reading["pages_text"], reading["pages_failed"]) == (2, 0)
    (warning,) = reading["warnings"]
    assert warning["code"] == "another_reader" and warning["message"].startswith("Page 2: ")
    assert "SIGSEGV" in warning["message"] and TEXT not in warning["message"]
    (cited, *_) = (await client.post("/api/v2/query", json={"question": "When do drakes moult?"})).json()["citations"]
    page = (await client.get(f"/api/v2/documents/{job_id}/pages/2")).json()
    assert (cited["page"], cited["text"]) == (2, page["text"][cited["start"] : cited["end"]])
    assert cited["text"] == TEXT and not cited["rects"]


async def test_a_file_that_lost_its_end(client: httpx.AsyncClient, parts: Any, tmp_path: Path) -> None:
    cut = files.sample(tmp_path, formats.DOCX).read_bytes()[:-200]
    job_id = (await upload(client, cut, "cut.docx")).json()["job_id"]
    reading = (await worked(client, parts, Sandbox(Limits(), concurrency=1), job_id))["reading"]
    assert reading["parser"] == "plain office"
    assert [warning["code"] for warning in reading["warnings"]] == ["another_reader"]
