"""What several documents hold, and what is said of them: nobody loses a file because another one gave it up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.acceptance import children_kit
from tests.acceptance.api_kit import on_one_machine, upload
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
