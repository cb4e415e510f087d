"""Documents that hold others, a thousand of them: what is asked of these costs as many looks as there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from datadistiller import model
from datadistiller.messages import INGEST_TOPIC, REMOVE_TOPIC, Done, Removed
from datadistiller.store.maintenance import Maintenance
from datadistiller.store.statements import Statements
from tests.contracts.store_kit import Kit, reading

MANY = 1000


def member(n: int) -> model.Member:
    """A file in an archive."""
    job_id = uuid4()
    return model.Member(f"{n}.txt", 10, "text/plain", f"{n:064}", job_id, f"uploads/{job_id}/{n}.txt")


@pytest.fixture
async def archive(kit: Kit) -> UUID:
    """A document with many in it, on a database that has planned its statements without them."""
    async with kit.db.connection() as conn:
        for table in ("document_jobs", "document_children"):  # nothing tells the planner what came
            await conn.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)".encode())
    job_id = (await kit.accept()).job.job_id
    for _ in range(12):
        await kit.jobs.get(job_id)
    (delivery,) = await kit.claim(INGEST_TOPIC, 1)
    await kit.settle(Done(delivery, replace(reading(job_id, ["text"]), members=[member(n) for n in range(MANY)])))
    return job_id


@pytest.mark.parametrize(
    ("noun", "name"),
    [("jobs", "get"), ("jobs", "children"), ("jobs", "page"), ("children", "family"), ("children", "orphans"),
     ("children", "spent")],
)  # fmt: skip
async def test_a_statement_looks_at_each_file_a_few_times(kit: Kit, archive: UUID, noun: str, name: str) -> None:
    values = {
        "job_id": archive, "parent": archive, "root": archive, "job": archive, "jobs": [archive], "gone": [archive],
        "loose": [], "after": 0, "limit": 200, "status": None, "collection": None, "at": None, "id": None,
    }  # fmt: skip
    assert await looks(kit, Statements(noun)[name], values) < 50 * MANY


async def test_what_lost_a_parent_is_told_from_what_has_one(kit: Kit, archive: UUID) -> None:
    loose = [row["child_id"] for row in await kit.rows("SELECT child_id FROM document_children")]
    assert len(loose) == MANY
    assert await looks(kit, Statements("children")["orphans"], {"gone": [], "loose": loose}) < 50 * MANY


async def test_what_a_person_deleted_stays_away_when_its_tombstone_is_old(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    read = replace(reading(job_id, ["text"]), members=[member(1), member(2)])
    (delivery,) = await kit.claim(INGEST_TOPIC, 1)
    await kit.settle(Done(delivery, read))
    (first, _), _ = await kit.jobs.children(job_id, 10, None)
    assert first.job is not None
    await kit.jobs.delete(first.job.job_id)
    (removal,) = await kit.claim(REMOVE_TOPIC, 1)
    await kit.settle(Done(removal, Removed()))
    await kit.run("UPDATE document_jobs SET purged_at = now() - interval '8 days' WHERE purged_at IS NOT NULL")
    await Maintenance(kit.db).run(3600)

    await kit.jobs.cancel(job_id)
    await kit.jobs.retry(job_id)
    (again,) = [d for d in await kit.claim(INGEST_TOPIC) if d.job_id == job_id]
    await kit.settle(Done(again, replace(read, members=[member(1), member(2)])))
    found, _ = await kit.jobs.children(job_id, 10, None)
    assert [child.path for child in found] == ["2.txt"]

    await kit.jobs.delete(job_id)
    for removal in await kit.claim(REMOVE_TOPIC):
        await kit.settle(Done(removal, Removed()))
    await kit.run("UPDATE document_jobs SET purged_at = now() - interval '8 days'")
    await Maintenance(kit.db).run(3600)
    assert await kit.rows("SELECT 1 FROM document_jobs") == await kit.rows("SELECT 1 FROM document_children") == []


async def looks(kit: Kit, statement: bytes, values: dict[str, object]) -> float:
    """How many blocks and rows the server looks at for it."""
    async with kit.db.connection() as conn:
        cursor = await conn.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, values)
        row = await cursor.fetchone()
    assert row is not None
    plan = row["QUERY PLAN"][0]["Plan"]
    return float(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] + rows(plan))


def rows(node: dict[str, Any]) -> float:
    """Those that a node of a plan, and those below it, gave or left out."""
    own = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    each = sum(float(node.get(name, 0)) for name in own) * float(node["Actual Loops"])
    return each + sum(rows(child) for child in node.get("Plans", []))
