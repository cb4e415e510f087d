"""Brings the database's schema to the version of this program."""

from __future__ import annotations

from importlib import resources

from datadistiller import errors
from datadistiller.store.database import Connection, Database
from datadistiller.store.statements import Statements

OLDEST_SERVER = 150000  # PostgreSQL 15


async def migrate(db: Database) -> None:
    """Applies the missing migrations, each in a transaction. Idempotent; concurrent calls wait for each other.

    Raises ``errors.SetupError`` if the server is too old or not UTF-8, or the schema is newer than this program.
    """
    sql = Statements("migrations")
    known = migrations()
    async with db.connection(limited=False) as conn, conn.transaction():
        await conn.execute("SET LOCAL statement_timeout = 0")
        await conn.execute("SET LOCAL lock_timeout = 0")
        await _check_server(conn)
        await conn.execute(sql["lock"])
        await conn.execute(sql["create"])
        applied = {row["version"] async for row in await conn.execute(sql["applied"])}
        newest = max(applied, default=0)
        if newest > max(known):
            raise errors.SetupError(
                f"The database has schema version {newest}, newer than this program knows ({max(known)}).",
                hint="Install the newer version of DataDistiller again, or use another database.",
            )
        for version in sorted(set(known) - applied):
            name, text = known[version]
            await conn.execute(text.encode())
            await conn.execute(sql["record"], {"version": version, "name": name})


def migrations() -> dict[int, tuple[str, str]]:
    """All migrations this program has: ``{version: (file name, SQL)}``."""
    folder = resources.files("datadistiller.store") / "migrations"
    files = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    return {int(file.name.split("_")[0]): (file.name, file.read_text()) for file in files}


async def _check_server(conn: Connection) -> None:
    if conn.info.server_version < OLDEST_SERVER:
        raise errors.SetupError(
            f"PostgreSQL {conn.info.server_version // 10000} is too old.", hint="Use PostgreSQL 15 or newer."
        )
    cursor = await conn.execute("SHOW server_encoding")
    row = await cursor.fetchone()
    if row is None or row["server_encoding"] != "UTF8":
        raise errors.SetupError(
            "The database does not store text as UTF-8.", hint="Create it with: createdb --encoding=UTF8 datadistiller"
        )
