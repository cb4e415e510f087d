"""Who works: one row per worker process, kept alive by its heartbeat."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import psycopg

from datadistiller.store.database import Database, link
from datadistiller.store.statements import Statements

_OPTIONS = "-c synchronous_commit=off -c statement_timeout=3s"
#: A server that vanished must be given up while there is time for a beat to the one that takes its place.
_LINK = {"connect_timeout": "3", "tcp_user_timeout": "3000"}


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker that was heard of lately."""

    boot: UUID
    worker_id: str
    role: str
    pid: int
    memory_bytes: int
    silent_seconds: float


class Workers:
    """Rows of ``workers``. Identity is the boot UUID; ``worker_id`` is only a name."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("workers")

    async def register(self, boot: UUID, worker_id: str, role: str, pid: int) -> None:
        """Announces a process before it begins any message."""
        await self._run("register", boot=boot, worker_id=worker_id, role=role, pid=pid)

    async def remove(self, boot: UUID) -> None:
        """Signs a process off; whatever it still holds is freed by the next reap."""
        await self._run("remove", boot=boot)

    async def remove_pid(self, pid: int) -> None:
        """The same for a process of this machine that was seen to die."""
        await self._run("remove_pid", pid=pid)

    async def remove_all(self) -> None:
        """All are gone: only for the one supervisor of an embedded system, before it starts any."""
        await self._run("remove_all")

    async def forget(self) -> None:
        """Drops rows of workers silent for an hour."""
        await self._run("forget")

    async def alive(self, timeout: float) -> list[WorkerRow]:
        """Workers heard of within ``timeout`` seconds."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["alive"], {"timeout": timeout})).fetchall()
        return [WorkerRow(**row) for row in rows]

    async def _run(self, name: str, **values: object) -> None:
        async with self._db.connection() as conn:
            await conn.execute(self._sql[name], values)


class Heartbeat:
    """One process's heartbeat on a connection of its own; blocking, for a thread that heavy work cannot starve."""

    def __init__(self, url: str, boot: UUID) -> None:
        self._url = url
        self._boot = boot
        self._beat = Statements("workers")["beat"]
        self._conn: psycopg.Connection[tuple[UUID]] | None = None

    def beat(self, memory_bytes: int) -> bool:
        """Says that the process is alive; False if the database is away or no longer knows it."""
        try:
            if self._conn is None or self._conn.closed:
                self._conn = psycopg.connect(self._url, autocommit=True, options=_OPTIONS, **link(self._url, **_LINK))
            row = self._conn.execute(self._beat, {"boot": self._boot, "memory": memory_bytes}).fetchone()
        except psycopg.Error:
            self.close()
            return False
        return row is not None

    def close(self) -> None:
        """Closes the connection."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None
