"""The change feed, read by snapshot difference, and the acknowledgement that completes jobs.

A position is a ``pg_snapshot``: a sequence number would skip rows that commit late, a horizon on the oldest
transaction would stall behind any open one. PostgreSQL manual, "System Information Functions: Transaction ID
and Snapshot Information".
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from datadistiller import indexing
from datadistiller.messages import CHUNK_TOPIC
from datadistiller.store.completion import Completion
from datadistiller.store.database import Database
from datadistiller.store.locks import Lock, advisory_lock
from datadistiller.store.statements import Statements

LOCK_KEY = 0x64645F666F6C6C6F  # "dd_follo": one local follower per database
#: The position before everything that is in the feed. What was applied is trimmed, so this is what is left to apply.
START = "1:1:"
_PAGE = 256  # feed rows read at once, of at most 128 numbers each
_ACKNOWLEDGED_AT_ONCE = 2000  # chunks


@dataclass(frozen=True, slots=True)
class _Place:
    """A position taken apart: what is visible in ``seen`` was read, and of what became visible until ``until``
    (None: now), the rows up to ``(xid, n)``. Written ``seen`` alone, or all four with semicolons."""

    seen: str
    until: str | None = None
    xid: str = "0"
    n: int = 0

    @classmethod
    def parse(cls, position: str) -> _Place:
        seen, *rest = position.split(";")
        return cls(seen, rest[0], rest[1], int(rest[2])) if rest else cls(seen)

    def __str__(self) -> str:
        return f"{self.seen};{self.until};{self.xid};{self.n}"


def between_pages(position: str) -> bool:
    """True if ``Changes.since`` gave this position before it had reached the end of what there was."""
    return _Place.parse(position).until is not None


@dataclass(frozen=True, slots=True)
class Live:
    """Live chunks."""

    chunks: dict[int, UUID]
    pending: frozenset[int]  # those not acknowledged in their present form


class Changes:
    """What the search index has to follow."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("changes")
        self._completion = Completion()

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[Lock]:
        """Holds the follower's advisory lock, if it is free, as long as the context lasts."""
        async with advisory_lock(self._db, LOCK_KEY) as lock:
            yield lock

    async def live(self, model_id: int, first: int = 0, limit: int | None = None) -> Live:
        """The live chunks with the lowest numbers from ``first`` on, ``limit`` at most."""
        async with self._db.connection() as conn:
            values = {"model": model_id, "first": first, "limit": limit}
            rows = await (await conn.execute(self._sql["live"], values)).fetchall()
        pending = frozenset(r["chunk_no"] for r in rows if r["pending"])
        return Live({r["chunk_no"]: r["chunk_id"] for r in rows}, pending)

    async def since(self, position: str) -> tuple[list[int], str]:
        """Numbers of the next chunks to read again after ``position``, each once, and the position after them.

        Bounded: at most some ten thousand numbers. If more wait, the position lies between two pages and the next
        call goes on from there; no numbers mean that the end is reached.
        """
        place = _Place.parse(position)
        async with self._db.connection() as conn:
            values = {"from": place.seen, "to": place.until, "xid": place.xid, "n": place.n, "limit": _PAGE}
            rows = await (await conn.execute(self._sql["since"], values)).fetchall()
        until = str(rows[0]["until"])  # one row at least: it carries the snapshot
        found = [row for row in rows if row["n"] is not None]
        numbers = sorted({number for row in found for number in row["chunk_nos"]})
        if len(found) == _PAGE:
            return numbers, str(_Place(place.seen, until, found[-1]["xid"], found[-1]["n"]))
        return numbers, until

    async def read(self, chunk_nos: Sequence[int], model_id: int) -> tuple[list[indexing.Entry], list[int]]:
        """The entries of those that belong in the index, and the numbers of those that do not."""
        async with self._db.connection() as conn:
            cursor = conn.cursor(binary=True)
            await cursor.execute(self._sql["read"], {"model": model_id, "numbers": list(chunk_nos)})
            rows = await cursor.fetchall()
        entries = [
            indexing.Entry(
                chunk_no=r["chunk_no"], chunk_id=r["chunk_id"], job_no=r["job_no"],
                vector=np.frombuffer(r["vector"], dtype="<f2"), context=r["context"], text=r["text"],
            )
            for r in rows
        ]  # fmt: skip
        return entries, sorted(set(chunk_nos) - {e.chunk_no for e in entries})

    async def acknowledge(self, chunk_nos: Sequence[int]) -> list[UUID]:
        """Marks chunks as indexed: every search finds them from now on. The last one completes its job.

        Returns the jobs that moved. Chunks that are not live any more, or were marked before, are passed over.
        """
        moved: set[UUID] = set()
        for start in range(0, len(chunk_nos), _ACKNOWLEDGED_AT_ONCE):
            moved |= await self._acknowledge(list(chunk_nos[start : start + _ACKNOWLEDGED_AT_ONCE]))
        return sorted(moved)

    async def more_to_come(self) -> bool:
        """True if vectors are being computed, or about to be."""
        async with self._db.connection() as conn:
            row = await (await conn.execute(self._sql["more_to_come"], {"topic": CHUNK_TOPIC})).fetchone()
        return bool(row and row["more"])

    async def trim(self, position: str) -> None:
        """Forgets the feed before a position."""
        async with self._db.connection() as conn:
            await conn.execute(self._sql["trim"], {"position": _Place.parse(position).seen})

    async def lag(self, position: str) -> tuple[int, float]:
        """Changed chunks after a position (of 100,000 feed rows at most), and the age of the oldest change, seconds."""
        place = _Place.parse(position)
        async with self._db.connection() as conn:
            values = {"position": place.seen, "xid": place.xid, "n": place.n}
            row = await (await conn.execute(self._sql["lag"], values)).fetchone()
        return (int(row["chunks"]), float(row["seconds"])) if row else (0, 0.0)

    async def _acknowledge(self, numbers: list[int]) -> set[UUID]:
        async with self._db.transaction() as conn:
            found = await (await conn.execute(self._sql["jobs_of"], {"numbers": numbers})).fetchall()
            jobs = [row["job_id"] for row in found]
            if not jobs:
                return set()
            await self._completion.hold(conn, jobs)
            await conn.execute(self._sql["lock_jobs"], {"jobs": jobs})
            marked = await (await conn.execute(self._sql["acknowledge"], {"numbers": numbers})).fetchall()
            moved = [row["job_id"] for row in marked]
            if moved:
                await self._completion.finish(conn, moved)
        return set(moved)
