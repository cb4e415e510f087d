"""A fresh embedded PostgreSQL with our tables, to measure what works on it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from datadistiller.store.database import Database
from datadistiller.store.embedded import EmbeddedPostgres
from datadistiller.store.migrate import migrate


@asynccontextmanager
async def fresh_database() -> AsyncIterator[tuple[EmbeddedPostgres, Database]]:
    """The server and a pool on it, with its ordinary, durable settings; both are gone at the end."""
    with tempfile.TemporaryDirectory(prefix="dd-bench-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        await server.start()
        db = Database(server.url)
        try:
            await db.open()
            await migrate(db)
            yield server, db
        finally:
            await db.close()
            await server.stop()
