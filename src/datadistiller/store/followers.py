"""What the follower of a search index and the API tell each other, when they are not one process."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from datadistiller.store.changes import LOCK_KEY
from datadistiller.store.database import Database
from datadistiller.store.statements import Statements


@dataclass(frozen=True, slots=True)
class FollowerRow:
    """What the leading follower said last. ``silent_seconds`` is None if it never said anything."""

    worker_id: str
    position: str
    error: str | None
    silent_seconds: float | None


@dataclass(frozen=True, slots=True)
class Requests:
    """How often the index was to be built anew, and the last of these requests that is done."""

    asked: int
    rebuilt: int


class Followers:
    """The row of the one follower."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("followers")

    async def report(self, worker_id: str, position: str, error: str | None, rebuilt: int) -> Requests:
        """Called by the leading follower again and again, that others see that it follows."""
        values = {"worker_id": worker_id, "position": position, "error": error, "rebuilt": rebuilt}
        async with self._db.transaction(durable=False) as conn:
            row = await (await conn.execute(self._sql["report"], values)).fetchone()
        assert row is not None
        return Requests(row["asked"], row["rebuilt"])

    async def ask(self) -> None:
        """Asks whoever leads, now or next, to build the index anew."""
        async with self._db.connection() as conn:
            await conn.execute(self._sql["ask"])

    async def depose(self, seconds: float) -> bool:
        """Takes the lock from a leader that has said nothing for so long; True if there was one."""
        async with self._db.connection() as conn:
            values = {"seconds": seconds, "key": LOCK_KEY}
            rows = await (await conn.execute(self._sql["depose"], values)).fetchall()
        return bool(rows)

    async def state(self) -> FollowerRow:
        """What is known of the leading follower."""
        async with self._db.connection() as conn:
            row = await (await conn.execute(self._sql["state"])).fetchone()
        assert row is not None
        return FollowerRow(**row)

    async def database_id(self) -> UUID:
        """Names this database, and what is restored from it, in a search index that others could write to."""
        async with self._db.connection() as conn:
            row = await (await conn.execute(self._sql["owner"])).fetchone()
        assert row is not None
        return UUID(str(row["owner"]))
