"""An encrypted file over HTTP: it fails without its password and with a wrong one, and is read with the right one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from datadistiller.messages import INGEST_TOPIC
from datadistiller.parsing import formats
from datadistiller.runtime.sandbox import Limits, Sandbox
from datadistiller.stages.ingest import Ingest
from tests.acceptance import api_parts
from tests.acceptance.api_kit import is_problem, on_one_machine, upload
from tests.acceptance.children_kit import Workers
from tests.fixtures import files
from tests.fixtures.locked import locked_pdf, office, old_zip

pytestmark = [pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True), on_one_machine]  # the store decides
PASSWORD, TEXT = "hunter2-of-the-file", "Drakes moult in June."


@pytest.fixture
async def ingest(parts: Any) -> AsyncIterator[Ingest]:
    """The stage with a real parser process."""
    sandbox = Sandbox(Limits(), concurrency=1)
    yield Workers(parts, sandbox).ingest
    await sandbox.close()


@pytest.fixture
def locked(tmp_path: Path) -> bytes:
    return locked_pdf(tmp_path / "locked.pdf", PASSWORD, TEXT).read_bytes()


async def worked(client: httpx.AsyncClient, parts: Any, ingest: Ingest, job_id: str) -> dict[str, Any]:
    """Does the workers' part; the status at the end."""
    await api_parts.settle(parts, *await ingest(await api_parts.claim(parts, INGEST_TOPIC)))
    await api_parts.embed(parts, TEXT)
    return await api_parts.finished(client, job_id)


async def test_a_retry_with_the_password_reads_it(
    client: httpx.AsyncClient, parts: Any, ingest: Ingest, locked: bytes
) -> None:
    job_id = (await upload(client, locked, "locked.pdf")).json()["job_id"]
    state = await worked(client, parts, ingest, job_id)
    assert (state["status"], state["error"]["code"]) == ("failed", "encrypted")
    assert "password" in state["error"]["hint"]
    for wrong, says in (("guess", "does not open"), ("", "by a password")):
        again = await client.post(f"/api/v2/documents/{job_id}/retry", json={"password": wrong})
        assert again.status_code == 202 and "guess" not in again.text
        state = await worked(client, parts, ingest, job_id)
        assert state["status"] == "failed" and says in state["error"]["message"]
    again = await client.post(f"/api/v2/documents/{job_id}/retry", json={"password": PASSWORD})
    assert PASSWORD not in again.text
    assert (await worked(client, parts, ingest, job_id))["status"] == "completed"
    assert (await client.get(f"/api/v2/documents/{job_id}/pages/1")).json()["text"] == TEXT


async def test_an_upload_with_the_password_reads_it(
    client: httpx.AsyncClient, parts: Any, ingest: Ingest, locked: bytes
) -> None:
    first = (await upload(client, locked, "locked.pdf", password="guess")).json()
    state = await worked(client, parts, ingest, first["job_id"])
    assert "does not open" in state["error"]["message"]
    again = (await upload(client, locked, "locked.pdf", password=PASSWORD)).json()
    assert (again["job_id"], again["duplicate"], again["status"]) == (first["job_id"], True, "pending")
    assert (await worked(client, parts, ingest, first["job_id"]))["status"] == "completed"


async def test_a_new_version_may_have_one(client: httpx.AsyncClient, parts: Any, ingest: Ingest, locked: bytes) -> None:
    job_id = (await upload(client, b"Ducks.")).json()["job_id"]
    assert (await worked(client, parts, ingest, job_id))["status"] == "completed"
    file = {"file": ("locked.pdf", locked)}
    await client.put(f"/api/v2/documents/{job_id}", files=file, data={"password": PASSWORD})
    state = await worked(client, parts, ingest, job_id)
    assert (state["status"], state["version"]) == ("completed", 2)


async def test_what_is_no_password_is_refused_and_not_repeated(client: httpx.AsyncClient, locked: bytes) -> None:
    for given, says in (("hush" * 251, "1000"), ("hush\0", "NUL")):
        problem = is_problem(await upload(client, locked, "a.pdf", password=given), 422, "invalid_request", says)
        assert "hush" not in str(problem)
    job_id = (await upload(client, locked, "locked.pdf")).json()["job_id"]
    await client.post(f"/api/v2/documents/{job_id}/cancel")
    for given in ("hush" * 251, "hush\0", "hush\ud800"):
        body = {"content": b'{"password": "%b"}' % given.encode("unicode_escape").replace(b"\\x00", b"\\u0000")}
        answer = await client.post(
            f"/api/v2/documents/{job_id}/retry", headers={"Content-Type": "application/json"}, **body
        )
        is_problem(answer, 422, "invalid_request", "password")
        assert "hush" not in answer.text


async def test_an_office_file_and_an_archive(
    client: httpx.AsyncClient, parts: Any, ingest: Ingest, tmp_path: Path
) -> None:
    """Through the real parser process; an archive without its password is partial, with it all of it is read."""
    word = office(files.sample(tmp_path, formats.DOCX), PASSWORD).read_bytes()
    accepted = (await upload(client, word, "locked.docx", password=PASSWORD)).json()
    assert (await worked(client, parts, ingest, accepted["job_id"]))["status"] == "completed"
    archive = old_zip(tmp_path / "a.zip", {"a.txt": b"Ducks", "b.txt": b"Geese"}, PASSWORD).read_bytes()
    job_id = (await upload(client, archive, "a.zip")).json()["job_id"]
    await worked(client, parts, ingest, job_id)
    assert await inside(client, job_id) == {"a.txt": "encrypted", "b.txt": ""}
    await client.post(f"/api/v2/documents/{job_id}/retry", json={"password": PASSWORD})
    await worked(client, parts, ingest, job_id)
    assert await inside(client, job_id) == {"a.txt": "", "b.txt": ""}


async def inside(client: httpx.AsyncClient, job_id: str) -> dict[str, str]:
    """Of each file in a document why it is none itself."""
    children = (await client.get(f"/api/v2/documents/{job_id}/children")).json()["children"]
    return {child["path"]: (child["problem"] or {}).get("code", "") for child in children}
