"""Advisory locks: what only one process per database may do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from datadistiller.store.database import Connection, Database
from datadistiller.store.statements import Statements


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock, if ``held``; it lasts as long as the session that took it."""

    held: bool
    session: Connection

    async def check(self) -> None:
        """Raises inside the context that gave it, which makes it ``errors.Unavailable``, if the lock is lost."""
        await self.session.execute("SELECT 1")


@contextlib.asynccontextmanager
async def advisory_lock(db: Database, key: int) -> AsyncIterator[Lock]:
    """Holds the lock of that key, if it is free, as long as the context lasts."""
    sql = Statements("locks")
    async with db.connection(limited=False) as conn:
        await conn.execute(sql["watch"])
        row = await (await conn.execute(sql["lock"], {"key": key})).fetchone()
        locked = bool(row and row["locked"])
        try:
            yield Lock(locked, conn)
        finally:
            if locked and not conn.closed:
                # Session locks outlive the return to the pool.
                await conn.execute(sql["unlock"])
