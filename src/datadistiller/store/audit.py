"""Complete comparisons inside the database, and of the database with what other stores hold. Read-only, and slow.

They look at every row, so they are let take their time, and use other plans than the queue's statements.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from datadistiller.messages import REMOVE_TOPIC
from datadistiller.store.database import Connection, Database
from datadistiller.store.statements import Statements

#: What must not be found: the statement, and how it reads. ``{n}`` is how many.
RULES = {
    "unread_without_message": "{n} unfinished documents have no message, so that nobody will read them",
    "chunks_without_message": "{n} chunks have neither a vector nor a message, so that nobody will embed them",
    "forgotten_by_follower": "{n} documents have all their vectors, but the index is not told to read them",
    "unpurged_without_message": "{n} deleted documents have no message, so that nobody will purge them",
    "purged_leftovers": "{n} deleted documents count as purged and are not",
    "wrong_counts": "{n} finished documents have other numbers of chunks than they say",
    "without_reason": "{n} documents are failed or partial without a reason",
    "doubled_chunks": "{n} places of documents are held by two chunks",
    "leftover_versions": "{n} chunks are of versions of documents that nobody works on",
    "untrue_citations": "{n} chunks do not stand on their page as they say",
    "indexed_without_vector": "{n} chunks count as indexed and have no vector",
}


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that does not hold."""

    rule: str
    total: int
    examples: list[str]


class Audit:
    """Questions about everything at once."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("audit")

    async def broken(self) -> list[Broken]:
        """The rules that do not hold within the database."""
        found = []
        async with self._patient() as conn:
            for rule in RULES:
                rows = await (await conn.execute(self._sql[rule], {"removals": REMOVE_TOPIC})).fetchall()
                if rows:
                    found.append(Broken(rule, int(rows[0]["total"]), [row["example"] for row in rows]))
        return found

    async def totals(self) -> tuple[int, int]:
        """How many documents and chunks there are."""
        async with self._patient() as conn:
            row = await (await conn.execute(self._sql["totals"])).fetchone()
        assert row is not None
        return int(row["documents"]), int(row["chunks"])

    async def live(self, first: int, limit: int) -> dict[int, UUID]:
        """The chunks that belong in the index with the lowest numbers from ``first`` on."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["live"], {"first": first, "limit": limit})).fetchall()
        return {row["chunk_no"]: row["chunk_id"] for row in rows}

    async def announced(self, chunk_nos: Sequence[int]) -> set[int]:
        """Those of the chunks that the index is told to read again."""
        async with self._patient() as conn:
            rows = await (await conn.execute(self._sql["announced"], {"numbers": list(chunk_nos)})).fetchall()
        return {row["chunk_no"] for row in rows}

    @contextlib.asynccontextmanager
    async def listing(self) -> AsyncIterator[Listing]:
        """A place to put all that the object store lists, and to compare it with the documents."""
        async with self._db.connection(limited=False) as conn:
            await conn.execute(self._sql["begin_listing"])
            try:
                yield Listing(conn, self._sql)
            finally:
                if not conn.closed:
                    await conn.execute(self._sql["end_listing"])

    async def still_wanted(self, keys: Sequence[str]) -> set[str]:
        """Those of the files that belong to a document now."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["still_wanted"], {"keys": list(keys)})).fetchall()
        return {row["key"] for row in rows}

    @contextlib.asynccontextmanager
    async def _patient(self) -> AsyncIterator[Connection]:
        async with self._db.connection(limited=False) as conn, patient(conn):
            yield conn


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects listed so far, in a table of their own."""

    conn: Connection
    sql: Statements

    async def add(self, found: Sequence[tuple[str, int, datetime]]) -> None:
        """Some more objects: key, size, and when they were written."""
        async with self.conn.cursor().copy(self.sql["list"]) as copy:
            for row in found:
                await copy.write_row(row)

    async def missing(self, begun: datetime, limit: int) -> dict[str, int]:
        """Files that should have been in a listing that began then, with the sizes they should have."""
        async with patient(self.conn):
            values = {"begun": begun, "limit": limit}
            rows = await (await self.conn.execute(self.sql["missing_objects"], values)).fetchall()
        return {row["key"]: row["size"] for row in rows}

    async def orphaned(self, before: datetime, limit: int) -> list[str]:
        """Files older than that which nobody has."""
        async with patient(self.conn):
            values = {"before": before, "limit": limit}
            rows = await (await self.conn.execute(self.sql["orphaned_objects"], values)).fetchall()
        return [row["key"] for row in rows]


@contextlib.asynccontextmanager
async def patient(conn: Connection) -> AsyncIterator[None]:
    """A transaction in which a statement may read whole tables, by whatever plan, for as long as it takes."""
    async with conn.transaction():
        for setting in (b"statement_timeout = 0", b"enable_seqscan = on", b"enable_bitmapscan = on"):
            await conn.execute(b"SET LOCAL " + setting)
        yield
