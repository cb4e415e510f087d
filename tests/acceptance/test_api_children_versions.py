"""Changed archives: what lies in one version only goes with it, in one step, and nothing goes before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.acceptance import children_kit
from tests.acceptance.api_kit import is_problem, on_one_machine, stored, upload
from tests.acceptance.children_kit import Workers, packed
from tests.acceptance.test_api_children import FERRY, LIGHT, children, cited, done, status, taken_in

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)

TIDE = b"The tide table of Portsall hangs beside the door of the harbour office."


@pytest.fixture
async def workers(parts: Any) -> AsyncIterator[Workers]:
    """The stages, to be run by the test."""
    async with children_kit.workers(parts) as made:
        yield made


async def put(client: httpx.AsyncClient, job_id: str, body: bytes, name: str = "coast.zip") -> httpx.Response:
    """A changed file."""
    return await client.put(f"/api/v2/documents/{job_id}", files={"file": (name, body)})


async def paths(client: httpx.AsyncClient, job_id: str) -> dict[str, str]:
    """The documents in a document, by their paths."""
    return {child["path"]: child["job"]["job_id"] for child in await children(client, job_id) if child["job"]}


async def test_what_lay_in_the_version_before_goes_at_the_switch(
    client: httpx.AsyncClient, parts: Any, workers: Workers
) -> None:
    job_id = await taken_in(client, workers, packed({"ferry.txt": FERRY, "light.txt": LIGHT}), "coast.zip")
    before = await paths(client, job_id)
    assert (await put(client, job_id, packed({"ferry.txt": FERRY, "tide.txt": TIDE}))).status_code == 202
    await workers.read()
    assert await paths(client, job_id) == before, "what queries find has not changed"
    assert len(await cited(client, "Kermorvan")) == len(await cited(client, "Molene")) == 1
    assert (await status(client, job_id))["children"] == {"completed": 2}

    await done(client, workers, job_id)
    now = await paths(client, job_id)
    assert set(now) == {"ferry.txt", "tide.txt"} and now["ferry.txt"] == before["ferry.txt"]
    assert await cited(client, "Kermorvan") == []
    is_problem(await client.get(f"/api/v2/documents/status/{before['light.txt']}"), 404, "job_not_found")
    assert [c["job_id"] for c in await cited(client, "Molene")] == [now["ferry.txt"]]
    assert [c["parent"]["path"] for c in await cited(client, "Portsall")] == ["tide.txt"]
    state = await status(client, job_id)
    assert (state["status"], state["version"], state["children"]) == ("completed", 2, {"completed": 2})
    assert not any(before["light.txt"] in key for key in await stored(parts)), "its bytes are gone too"
    await client.delete(f"/api/v2/documents/{job_id}")
    assert await cited(client, "Molene") == await cited(client, "Portsall") == []


@on_one_machine  # decided in the database
async def test_a_version_that_fails_or_is_given_up_changes_nothing(client: httpx.AsyncClient, workers: Workers) -> None:
    first = packed({"ferry.txt": FERRY, "light.txt": LIGHT})
    job_id = await taken_in(client, workers, first, "coast.zip")
    before = await paths(client, job_id)
    await put(client, job_id, b"PK\x03\x04 and no archive at all")
    await done(client, workers, job_id)
    state = await status(client, job_id)
    assert (state["status"], state["version"], state["next_version"]) == ("partial", 1, 2)
    assert await paths(client, job_id) == before and len(await cited(client, "Kermorvan")) == 1

    await put(client, job_id, packed({"tide.txt": TIDE}))
    await workers.read()
    await put(client, job_id, first)
    await done(client, workers, job_id)
    assert await paths(client, job_id) == before and len(await cited(client, "Kermorvan")) == 1
    assert (await status(client, job_id))["status"] == "completed"
    assert await cited(client, "Portsall") == [], "what only lay in the version that was given up is gone"


@on_one_machine  # decided in the database
async def test_an_archive_that_holds_what_it_was(client: httpx.AsyncClient, workers: Workers) -> None:
    first = packed({"ferry.txt": FERRY})
    job_id = await taken_in(client, workers, first, "coast.zip")
    await put(client, job_id, packed({"old.zip": first, "light.txt": LIGHT}))
    await done(client, workers, job_id)
    old, light = await children(client, job_id)
    assert (old["job"], old["problem"]["code"], light["job"]["status"]) == (None, "unsupported_type", "completed")
    assert (await status(client, job_id))["status"] == "completed"


@on_one_machine  # decided in the database
async def test_a_child_has_no_versions_unless_a_person_uploaded_it(client: httpx.AsyncClient, workers: Workers) -> None:
    job_id = await taken_in(client, workers, packed({"ferry.txt": FERRY, "light.txt": LIGHT}), "coast.zip")
    ferry = (await paths(client, job_id))["ferry.txt"]
    is_problem(await put(client, ferry, TIDE, "ferry.txt"), 409, "conflict", "lies in")
    assert (await upload(client, FERRY, "mine.txt")).json()["job_id"] == ferry
    assert (await put(client, ferry, TIDE, "mine.txt")).status_code == 202
    await done(client, workers, ferry)
    assert [c["version"] for c in await cited(client, "Portsall")] == [2]
    await put(client, job_id, packed({"light.txt": LIGHT}))
    await done(client, workers, job_id)
    assert len(await cited(client, "Portsall")) == 1, "what a person uploaded stays"
