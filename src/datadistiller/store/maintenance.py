"""What nobody needs any more."""

from __future__ import annotations

from datadistiller.store.database import Database
from datadistiller.store.statements import Statements


class Maintenance:
    """Drops old records; safe to run in several processes at once."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("maintenance")

    async def run(self, idempotency_seconds: float) -> None:
        """Expired Idempotency-Keys, tombstones older than a week, events of forgotten documents older than a month."""
        async with self._db.connection() as conn:
            await conn.execute(self._sql["drop_keys"], {"seconds": idempotency_seconds})
            await conn.execute(self._sql["drop_tombstones"])
            await conn.execute(self._sql["drop_events"])
