"""What several documents hold, and what is said of them: nobody loses a file because another one gave it up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.acceptance import children_kit
from tests.acceptance.api_kit import is_problem, on_one_machine, upload
from tests.acceptance.children_kit import Workers, packed
from tests.acceptance.test_api_children import FERRY, LIGHT, children, cited, done, status, taken_in

pytestmark = [pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True), on_one_machine]  # all in the database

TIDE = b"The tide table of Portsall hangs beside the door of the harbour office."


@pytest.fixture
async def workers(parts: Any) -> AsyncIterator[Workers]:
    """The stages, to be run by the test."""
    async with children_kit.workers(parts) as made:
        yield made


async def test_a_file_that_was_cancelled_with_another_archive_begins_again(
    client: httpx.AsyncClient, workers: Workers
) -> None:
    first = (await upload(client, packed({"ferry.txt": FERRY, "light.txt": LIGHT}), "one.zip")).json()["job_id"]
    await workers.read()
    await client.post(f"/api/v2/documents/{first}/cancel")
    second = await taken_in(client, workers, packed({"ferry.txt": FERRY, "tide.txt": TIDE}), "two.zip")
    assert (await status(client, second))["children"] == {"completed": 2}
    assert len(await cited(client, "Molene")) == 1
    assert (await status(client, first))["children"] == {"completed": 1, "cancelled": 1}


async def test_a_retry_begins_whatever_in_it_was_stopped(client: httpx.AsyncClient, workers: Workers) -> None:
    body = packed({"ferry.txt": FERRY, "inner.zip": packed({"light.txt": LIGHT, "tide.txt": TIDE})})
    job_id = await taken_in(client, workers, body, "coast.zip")
    is_problem(await client.post(f"/api/v2/documents/{job_id}/retry"), 409, "conflict", "nothing in it failed")
    found = {child["path"]: child["job"]["job_id"] for child in await children(client, job_id)}
    deep = {child["path"]: child["job"]["job_id"] for child in await children(client, found["inner.zip"])}
    for stopped in (found["ferry.txt"], deep["tide.txt"]):
        async with workers.parts.database.connection() as conn:  # as a cancellation leaves it that came in time
            await conn.execute(
                "UPDATE document_jobs SET status = 'pending', attempt = attempt + 1 WHERE job_id = %s", (stopped,)
            )
        assert (await client.post(f"/api/v2/documents/{stopped}/cancel")).status_code == 200
    again = await client.post(f"/api/v2/documents/{job_id}/retry")
    assert (again.status_code, again.json()["status"], again.json()["attempt"]) == (202, "completed", 1)
    await done(client, workers, job_id)
    for document in (job_id, found["inner.zip"]):
        assert (await status(client, document))["children"] == {"completed": 2}


async def test_what_lay_deeper_begins_again_with_a_stopped_archive(client: httpx.AsyncClient, workers: Workers) -> None:
    body = packed({"inner.zip": packed({"light.txt": LIGHT})})
    job_id = (await upload(client, body, "coast.zip")).json()["job_id"]
    await workers.read()
    await workers.read()  # the one inside: its file is known now, and waits
    stopped = await client.post(f"/api/v2/documents/{job_id}/cancel")
    assert stopped.json()["status"] == "cancelled"
    await client.post(f"/api/v2/documents/{job_id}/retry")
    await done(client, workers, job_id)
    assert len(await cited(client, "Kermorvan")) == 1


async def test_files_have_the_metadata_of_the_version_they_lie_in(client: httpx.AsyncClient, workers: Workers) -> None:
    inner = packed({"deep.txt": TIDE})
    body = packed({"ferry.txt": FERRY, "inner.zip": inner})
    job_id = await taken_in(client, workers, body, "coast.zip", metadata='{"year": 2025}')
    await upload(client, FERRY, "mine.txt", metadata='{"mine": true}')  # a person has it too, under the old metadata
    file = {"file": ("coast.zip", packed({"ferry.txt": FERRY, "inner.zip": inner, "light.txt": LIGHT}))}
    await client.put(f"/api/v2/documents/{job_id}", files=file, data={"metadata": '{"year": 2026}'})
    await done(client, workers, job_id)
    found = {child["path"]: child["job"] for child in await children(client, job_id)}
    assert {path: job["metadata"]["year"] for path, job in found.items()} == {
        "ferry.txt": 2025, "inner.zip": 2026, "light.txt": 2026,
    }  # fmt: skip
    [deep] = await children(client, found["inner.zip"]["job_id"])
    assert deep["job"]["metadata"] == {"year": 2026}


async def test_nothing_is_remembered_of_what_lay_in_a_deleted_document(
    client: httpx.AsyncClient, parts: Any, workers: Workers
) -> None:
    body = packed({"ferry of Molene.txt": FERRY, "inner.zip": packed({"light.txt": LIGHT})})
    first = await taken_in(client, workers, body, "coast.zip")
    second = await taken_in(client, workers, packed({"kept.txt": FERRY}), "two.zip")
    await client.delete(f"/api/v2/documents/{first}")
    await workers.work()
    async with parts.database.connection() as conn:
        rows = await (await conn.execute("SELECT path FROM document_children")).fetchall()
    assert [row["path"] for row in rows] == ["kept.txt"]
    assert (await status(client, second))["children"] == {"completed": 1}
