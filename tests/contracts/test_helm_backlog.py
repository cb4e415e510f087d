"""The queries by which KEDA scales the chart's workers, on a real database."""

from __future__ import annotations

from typing import Any

from datadistiller.messages import INGEST_TOPIC
from datadistiller.store.database import Database
from tests.contracts.store_kit import Kit
from tests.unit import test_helm


def query(role: str, *values: str) -> str:
    """What the scaler of a role asks."""
    scaled = test_helm.of_kind("ScaledObject", "keda.enabled=true", *values)
    return str(scaled[role]["spec"]["triggers"][0]["metadata"]["query"])


async def asked(db: Database, statement: str) -> Any:
    async with db.connection() as conn:
        row = await (await conn.execute(statement.encode())).fetchone()
    assert row is not None
    return row["count"]


async def test_it_counts_what_waits_and_what_is_under_way(kit: Kit) -> None:
    jobs = [(await kit.accept()).job.job_id for _ in range(3)]
    assert await asked(kit.db, query("ingest")) == 3
    assert await asked(kit.db, query("embed")) == 0
    await kit.ingest(jobs[0], ["one", "two", "three", "four"])
    await kit.claim(INGEST_TOPIC, 1)  # work under way must not scale its worker away
    assert await asked(kit.db, query("ingest")) == 2
    assert await asked(kit.db, query("embed")) == 4


async def test_it_counts_no_further_than_matters(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, [str(n) for n in range(40)])
    few = ("roles.embed.scale.max=3", "roles.embed.scale.messagesPerWorker=10")
    assert await asked(kit.db, query("embed", *few)) == 30
