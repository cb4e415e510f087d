"""What lies in a document: attachments and members of archives are documents of their own, linked to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.message import EmailMessage
from typing import Any

import httpx
import pytest

from datadistiller.stages.limits import IntakeLimits
from tests.acceptance import api_parts, children_kit
from tests.acceptance.api_kit import is_problem, on_one_machine, stored, upload
from tests.acceptance.children_kit import Workers, packed

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)

LIGHT = b"The lighthouse of Kermorvan was built in 1849. It stands on a rock above the sea."
FERRY = b"The ferry to Molene leaves at nine in the morning, but not on Sundays in winter."


@pytest.fixture
async def workers(parts: Any) -> AsyncIterator[Workers]:
    """The stages, to be run by the test."""
    async with children_kit.workers(parts) as made:
        yield made


async def taken_in(client: httpx.AsyncClient, workers: Workers, body: bytes, name: str, **fields: str) -> str:
    """Uploads a document, and works until it and all in it are at their end; its job id."""
    job_id = str((await upload(client, body, name, **fields)).json()["job_id"])
    await done(client, workers, job_id)
    return job_id


async def done(client: httpx.AsyncClient, workers: Workers, job_id: str) -> list[str]:
    """Works until a document and all in it are at their end; what lies in it."""
    await workers.work()
    await api_parts.finished(client, job_id)
    found = await children(client, job_id)
    for child in found:
        if child["job"]:
            await done(client, workers, child["job"]["job_id"])
    return [child["path"] for child in found]


async def children(client: httpx.AsyncClient, job_id: str, **params: Any) -> list[dict[str, Any]]:
    """The files in a document."""
    found = (await client.get(f"/api/v2/documents/{job_id}/children", params=params)).json()
    return list(found["children"])


async def status(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    """The document as it is shown."""
    return dict((await client.get(f"/api/v2/documents/status/{job_id}")).json())


async def cited(client: httpx.AsyncClient, question: str) -> list[dict[str, Any]]:
    """What a question finds by its words."""
    body = {"question": question, "mode": "keyword", "answer": False}
    return list((await client.post("/api/v2/query", json=body)).json()["citations"])


async def test_members_of_an_archive_are_documents(client: httpx.AsyncClient, parts: Any, workers: Workers) -> None:
    body = packed({"sea/light.txt": LIGHT, "ferry.txt": FERRY})
    job_id = await taken_in(client, workers, body, "coast.zip", collection="coast", metadata='{"year": 2026}')
    archive = await status(client, job_id)
    assert (archive["status"], archive["children"], archive["parent"]) == ("completed", {"completed": 2}, None)
    found = await children(client, job_id)
    assert [(child["path"], child["size"]) for child in found] == [
        ("sea/light.txt", len(LIGHT)),
        ("ferry.txt", len(FERRY)),
    ]
    light = found[0]["job"]
    assert light["parent"] == {"job_id": job_id, "filename": "coast.zip", "path": "sea/light.txt"}
    assert (light["filename"], light["collection"], light["metadata"]) == ("light.txt", "coast", {"year": 2026})
    assert (light["priority"], light["media_type"]) == ("bulk", "text/plain")
    assert (await client.get(f"/api/v2/documents/{light['job_id']}/content")).content == LIGHT
    [citation] = await cited(client, "Kermorvan")
    assert (citation["job_id"], citation["parent"]) == (light["job_id"], light["parent"])
    [listed] = await cited(client, "bytes")
    assert listed["job_id"] == job_id and listed["text"].startswith("sea/light.txt (81 bytes)")

    assert (await client.delete(f"/api/v2/documents/{job_id}")).status_code == 204
    assert await cited(client, "Kermorvan") == await cited(client, "ferry") == []
    assert (await client.get("/api/v2/documents")).json()["jobs"] == []
    is_problem(await client.get(f"/api/v2/documents/{job_id}/children"), 404, "job_not_found")
    await workers.work()
    assert await stored(parts) == []


def mail(*attachments: tuple[str, bytes], subject: str = "The timetable") -> bytes:
    """A message with a sentence and what is attached to it."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.org", subject
    message.set_content("Please find enclosed what we spoke of.")
    for name, body in attachments:
        message.add_attachment(body, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


async def test_what_lies_in_what_lies_in_a_mail(client: httpx.AsyncClient, workers: Workers) -> None:
    inner = packed({"a/ferry.txt": FERRY, "b/ferry again.txt": FERRY, "rock.bin": bytes(range(256)) * 9})
    job_id = await taken_in(client, workers, mail(("coast.zip", inner)), "timetable.eml")
    [archive] = await children(client, job_id)
    assert archive["job"]["parent"]["filename"] == "timetable.eml"
    assert archive["job"]["status"] == "completed", "nobody misses a file that cannot be read"
    first, again, rock = await children(client, archive["job"]["job_id"])
    assert first["job"]["job_id"] == again["job"]["job_id"], "the same bytes are one document"
    assert rock["job"] is None and rock["problem"]["code"] == "unsupported_type"
    [citation] = await cited(client, "Molene")
    assert citation["parent"] == {"job_id": archive["job"]["job_id"], "filename": "coast.zip", "path": "a/ferry.txt"}
    pages = (await client.get(f"/api/v2/documents/{archive['job']['job_id']}/children", params={"limit": 2})).json()
    rest = await children(client, archive["job"]["job_id"], cursor=pages["next_cursor"])
    assert [*pages["children"], *rest] == [first, again, rock]
    listed = (await client.get("/api/v2/documents", params={"parent": job_id})).json()["jobs"]
    assert [job["job_id"] for job in listed] == [archive["job"]["job_id"]]
    wrong = await client.get(f"/api/v2/documents/{job_id}/children", params={"cursor": "x"})
    is_problem(wrong, 422, "invalid_request", "cursor")
    assert (await client.delete(f"/api/v2/documents/{job_id}")).status_code == 204
    assert (await client.get("/api/v2/documents")).json()["jobs"] == []


@on_one_machine  # what is kept is decided in the database
async def test_a_child_stays_as_long_as_somebody_has_it(client: httpx.AsyncClient, workers: Workers) -> None:
    first = await taken_in(client, workers, mail(("ferry.txt", FERRY), ("light.txt", LIGHT)), "one.eml")
    second = await taken_in(client, workers, mail(("timetable.txt", FERRY), subject="Again"), "two.eml")
    [shared] = [child["job"] for child in await children(client, second)]
    assert shared["parent"]["job_id"] == first and shared["filename"] == "ferry.txt"
    light = (await upload(client, LIGHT, "mine.txt")).json()
    assert light["duplicate"] is True, "a person uploads what a mail had brought"

    await client.delete(f"/api/v2/documents/{first}")
    assert (await status(client, light["job_id"]))["parent"] is None
    assert (await status(client, shared["job_id"]))["parent"]["job_id"] == second
    [citation] = await cited(client, "Molene")
    assert citation["parent"] == {"job_id": second, "filename": "two.eml", "path": "timetable.txt"}
    await client.delete(f"/api/v2/documents/{second}")
    assert await cited(client, "Molene") == []
    assert [job["job_id"] for job in (await client.get("/api/v2/documents")).json()["jobs"]] == [light["job_id"]]


@on_one_machine  # the limits are the parser's and the stage's
async def test_beyond_the_limits_what_fits_is_taken_in(client: httpx.AsyncClient, workers: Workers) -> None:
    workers.limits = IntakeLimits(members=2, bytes=1000, nesting=1)
    large = bytes(f"{list(range(700))}", "ascii")
    many = packed({"large.txt": large, "ferry.txt": FERRY, "light.txt": LIGHT})
    job_id = await taken_in(client, workers, many, "many.zip")
    archive = await status(client, job_id)
    assert (archive["status"], archive["searchable"], archive["children"]) == ("partial", True, {"completed": 1})
    assert archive["error"]["code"] == "members_missed" and "2 of the 3 files" in archive["error"]["message"]
    found = await children(client, job_id)
    assert [(c["path"], c["job"] is not None) for c in found] == [
        ("large.txt", False), ("ferry.txt", True), ("and more", False),
    ]  # fmt: skip
    assert "MAX_ATTACHMENT_BYTES" in found[0]["problem"]["message"]
    assert "MAX_ATTACHMENTS" in found[2]["problem"]["message"]

    workers.limits = IntakeLimits(members=10, bytes=1000, nesting=1)
    deep = packed({"in.zip": packed({"deep.txt": b"Nobody reads what lies this deep."})})
    [inner] = await children(client, await taken_in(client, workers, deep, "deep.zip"))
    assert inner["job"]["status"] == "partial"
    [left_out] = await children(client, inner["job"]["job_id"])
    assert left_out["problem"]["code"] == "limit_exceeded" and "MAX_NESTING" in left_out["problem"]["message"]


@on_one_machine  # rows and links are the database's
async def test_a_retry_brings_what_is_missing_and_nothing_twice(client: httpx.AsyncClient, workers: Workers) -> None:
    workers.limits = IntakeLimits(members=2, bytes=10_000, nesting=3)
    broken = b"\x1f\x8b\x08" + bytes(40)
    body = packed({"light.txt": LIGHT, "broken.gz": broken, "ferry.txt": FERRY})
    job_id = await taken_in(client, workers, body, "coast.zip")
    light, failed, _ = await children(client, job_id)
    assert (await status(client, job_id))["children"] == {"completed": 1, "failed": 1}
    await client.delete(f"/api/v2/documents/{light['job']['job_id']}")

    retry = f"/api/v2/documents/{job_id}/retry"
    again = (await client.post(retry)).json()
    assert (again["attempt"], again["children"]) == (2, {"failed": 1})
    assert await done(client, workers, job_id) == ["broken.gz", "and more"], "what a person deleted stays away"
    [tried, _] = await children(client, job_id)
    assert (tried["job"]["job_id"], tried["job"]["attempt"]) == (failed["job"]["job_id"], 2)

    workers.limits = IntakeLimits(members=1, bytes=10_000, nesting=3)
    await client.post(retry)
    assert await done(client, workers, job_id) == ["and more"], "what is no longer taken out is deleted"
    is_problem(await client.get(f"/api/v2/documents/status/{failed['job']['job_id']}"), 404, "job_not_found")

    workers.limits = IntakeLimits(members=10, bytes=10_000, nesting=3)
    await client.post(retry)
    assert await done(client, workers, job_id) == ["broken.gz", "ferry.txt"]
    assert (await status(client, job_id))["status"] == "completed"
    assert await cited(client, "Kermorvan") == [] and len(await cited(client, "Molene")) == 1


@on_one_machine  # messages are the database's
async def test_cancel_stops_what_came_in_it(client: httpx.AsyncClient, workers: Workers) -> None:
    job_id = (await upload(client, packed({"light.txt": LIGHT, "ferry.txt": FERRY}), "coast.zip")).json()["job_id"]
    await workers.read()
    assert (await status(client, job_id))["children"] == {"pending": 2}
    stopped = await client.post(f"/api/v2/documents/{job_id}/cancel")
    assert (stopped.status_code, stopped.json()["children"]) == (200, {"cancelled": 2})
    await workers.work()
    assert await cited(client, "Molene") == []
    await client.post(f"/api/v2/documents/{job_id}/retry")
    await done(client, workers, job_id)
    assert (await status(client, job_id))["children"] == {"completed": 2}
    assert len(await cited(client, "Molene")) == 1


@on_one_machine  # the same
async def test_archives_that_contain_each_other_go_together(client: httpx.AsyncClient, workers: Workers) -> None:
    job_id = await taken_in(client, workers, packed({"a.zip": packed({"ferry.txt": FERRY})}), "b.zip")
    [inner] = await children(client, job_id)
    async with workers.parts.database.connection() as conn:  # an archive that contains itself takes a mathematician
        await conn.execute(
            "INSERT INTO document_children (parent_id, ordinal, child_id, path, size, sha256)"
            " SELECT job_id, 9, %(inner)s, 'b.zip', 1, 'x' FROM document_jobs WHERE filename = 'ferry.txt'",
            {"inner": inner["job"]["job_id"]},
        )
    await client.delete(f"/api/v2/documents/{job_id}")
    assert (await client.get("/api/v2/documents")).json()["jobs"] == []
