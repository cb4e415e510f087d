"""Looking without touching: why a job is not finished, and what is in the stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from datadistiller.store.database import Database
from datadistiller.store.statements import Statements


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one job is not finished, in one line, and what a person can do."""

    job_id: UUID
    filename: str
    status: str
    attempt: int
    age_seconds: float
    reason: str
    hint: str


class Inspection:
    """Read-only questions about the whole system."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("inspection")

    async def unfinished(self, limit: int = 200) -> list[Explanation]:
        """The oldest unfinished jobs with what they wait for."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["unfinished"], {"limit": limit})).fetchall()
        return [_explain(row) for row in rows]

    async def object_keys_known(self, keys: Sequence[str]) -> set[str]:
        """Those of the keys that belong to a document, or to a deleted one whose removal is under way."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["known_keys"], {"keys": list(keys)})).fetchall()
        return {row["object_key"] for row in rows}

    async def retired_objects(self, limit: int) -> list[str]:
        """Keys of files that belonged to versions of documents and are nobody's now, the oldest first."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["retired"], {"limit": limit})).fetchall()
        return [row["key"] for row in rows]

    async def forget_retired(self, keys: Sequence[str]) -> None:
        """They are gone from the object store."""
        async with self._db.connection() as conn:
            await conn.execute(self._sql["forget_retired"], {"keys": list(keys)})

    async def counts(self) -> dict[str, int]:
        """Rows per kind, and ``database_bytes``."""
        return {key: int(value) for key, value in (await self._row("counts")).items()}

    async def live_chunks(self) -> int:
        """How many chunks the search index should hold."""
        return int((await self._row("live_count"))["n"])

    async def version(self) -> str:
        """The version of the PostgreSQL server."""
        return str((await self._row("version"))["version"])

    async def _row(self, name: str) -> dict[str, Any]:
        async with self._db.connection() as conn:
            row = await (await conn.execute(self._sql[name])).fetchone()
        assert row is not None
        return row


def _explain(row: Mapping[str, Any]) -> Explanation:
    reason, hint = _reason(row)
    return Explanation(
        row["job_id"], row["filename"], row["status"], row["attempt"], float(row["age_seconds"]), reason, hint
    )


def _reason(row: Mapping[str, Any]) -> tuple[str, str]:
    if row["messages"] == 0 and row["status"] == "embedding":
        done, total = row["processed_chunks"], row["total_chunks"]
        return (
            f"All vectors are made; {done} of {total} chunks are acknowledged by the search index.",
            "If this does not move, look at the index follower in GET /health.",
        )
    if row["messages"] == 0:
        return ("It has no message: this is a defect.", "Start it again: cancel, then retry.")
    if row["orphaned"]:
        return ("Its worker is gone; the reaper frees it within seconds.", "Nothing to do.")
    if row["leased"]:
        return (
            f"{row['leased']} of its {row['messages']} messages are being worked on by {row['worker']}.",
            "Nothing to do.",
        )
    if row["parked"]:
        return (f"It waits for capacity: {row['last_error'] or 'a resource is exhausted'}.", "It goes on by itself.")
    if row["due_in_seconds"] > 0:
        return (
            f"Attempt {row['tries']} failed ({row['last_error']}); the next is in {row['due_in_seconds']:.0f} s.",
            "It is tried again by itself.",
        )
    if row["crashes"]:
        return (f"Its worker died {row['crashes']} times; it waits to be tried alone.", "It is tried again by itself.")
    return ("It waits for a free worker.", "Nothing to do; if no worker is alive, start one.")
