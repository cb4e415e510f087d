"""Compares this machine's clock with the database's."""

from __future__ import annotations

import time
from collections.abc import Callable

from datadistiller import errors
from datadistiller.store.database import Database
from datadistiller.store.statements import Statements

#: Leases and due times are the database's alone. What leaves here are times in logs, links and signatures of S3.
MOST_SECONDS = 120.0


async def check(db: Database, now: Callable[[], float] = time.time) -> None:
    """Raises ``errors.SetupError`` if the two are minutes apart. The time the answer takes is not counted."""
    sql = Statements("clock")
    async with db.connection() as conn:
        asked = now()
        row = await (await conn.execute(sql["now"])).fetchone()
        answered = now()
    assert row is not None
    theirs = float(row["seconds"])
    apart = max(asked - theirs, theirs - answered)
    if apart > MOST_SECONDS:
        way = "ahead of" if asked > theirs else "behind"
        raise errors.SetupError(
            f"The clock of this machine is {apart / 60:.0f} minutes {way} that of PostgreSQL.",
            hint="Have both set by NTP ('timedatectl' shows whether it is), then start again; "
            "DATADISTILLER_DATABASE_URL names the server.",
        )
