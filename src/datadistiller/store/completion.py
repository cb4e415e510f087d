"""Makes documents complete. A new version takes over then, and what only lay in the one before goes with it."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from datadistiller.store.children import Children
from datadistiller.store.database import Connection
from datadistiller.store.statements import Statements


class Completion:
    """The last steps of a transaction that settles or acknowledges."""

    def __init__(self) -> None:
        self._sql = Statements("completion")
        self._children = Children()

    async def hold(self, conn: Connection, jobs: Sequence[UUID]) -> None:
        """Takes the locks that a switch of versions needs, before all others."""
        if await (await conn.execute(self._sql["switching"], {"jobs": list(jobs)})).fetchone():
            await self._children.hold_family(conn, jobs)

    async def finish(self, conn: Connection, jobs: Sequence[UUID]) -> None:
        """Ends the jobs whose last chunk this was, in a transaction that holds their locks."""
        rows = await (await conn.execute(self._sql["finish"], {"jobs": list(jobs)})).fetchall()
        if not rows:
            return
        finished = [row["job_id"] for row in rows]
        stale = await (await conn.execute(self._sql["unlink"], {"jobs": finished})).fetchall()
        if stale:
            await conn.execute(self._sql["inherit"], {"jobs": list({row["parent_id"] for row in stale})})
        lost = list({row["child_id"] for row in stale if row["child_id"] is not None})
        if lost:
            await self._children.hold_family(conn, [*jobs, *lost])  # already ours, unless a version came in between
            await self._children.delete(conn, await self._children.orphans(conn, loose=lost))
