"""PostgreSQL twice: a primary, and a standby that has all that was ever answered and may take its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg

from tools.services import ports
from tools.services.postgres import PASSWORD, USER, PostgresServer

#: Network namespaces have addresses beyond 127.0.0.1.
_WHOLE_LOOPBACK = "host all all 127.0.0.0/8 scram-sha-256\n"


class Member(PostgresServer):
    """One of the two. With a ``source``, the connection string of another, it is made as a copy that follows that."""

    source = ""

    @property
    def own_url(self) -> str:
        """The connection string of this one alone."""
        return super().url

    def creation(self, fresh: Path) -> list[str]:
        """For a copy: a base backup that goes on with the source's log."""
        if not self.source:
            return super().creation(fresh)
        program = str(self.program("pg_basebackup"))
        return [program, "-D", str(fresh), "-d", self.source, "-R", "-X", "stream", "-c", "fast"]

    async def change(self, statement: str) -> None:
        """Makes a change to the settings, and has all of them read again."""
        async with await psycopg.AsyncConnection.connect(self.own_url, autocommit=True) as conn:
            await conn.execute(statement.encode())
            await conn.execute("SELECT pg_reload_conf()")


class PostgresPair(Member):
    """The first of two, with the other one beside it. A commit is answered only when both have it.

    DataDistiller is given both addresses, first that of the standby of the beginning, and is not told which is which.
    """

    def __init__(self, folder: Path, given: Mapping[str, int] | None = None) -> None:
        super().__init__(folder, given)
        # Beside this one, where the remains of killed test runs are looked for.
        self.primary: Member = self
        self.standby = Member(folder.parent / "standby")

    @property
    def url(self) -> str:
        """Whichever takes writes."""
        return f"{self._both()}?target_session_attrs=read-write"

    def environment(self) -> dict[str, str]:
        """Both addresses, and nothing else."""
        return {"DATADISTILLER_DATABASE_URL": self._both()}

    async def start(self) -> None:
        """Starts both; from then on commits wait for the standby."""
        await super().start()
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(_WHOLE_LOOPBACK)
        await self.follow()

    async def stop(self) -> None:
        """Stops both, the standby first: the primary waits for it."""
        for each in (self.standby, self.primary):
            await (super().stop() if each is self else each.stop())

    async def follow(self) -> None:
        """Makes whichever does not lead a copy of the one that does, and has commits wait for it."""
        self.standby.source = self.primary.own_url
        await self.standby.wipe()
        await (super().start() if self.standby is self else self.standby.start())
        await self.primary.change("ALTER SYSTEM SET synchronous_standby_names = '*'")

    async def separate(self) -> None:
        """From now on the standby gets nothing, and commits do not wait for it."""
        await self.primary.change("ALTER SYSTEM RESET synchronous_standby_names")
        await self.standby.change("ALTER SYSTEM SET primary_conninfo = ''")

    async def fail_over(self) -> None:
        """The primary is killed; the standby takes its place, on a timeline of its own."""
        await self.primary.kill()
        await self.standby.change("SELECT pg_promote()")
        self.primary, self.standby = self.standby, self.primary

    def _both(self) -> str:
        hosts = ",".join(f"{ports.LOOPBACK}:{each.ports['client']}" for each in self._members())
        return f"postgresql://{USER}:{PASSWORD}@{hosts}/{USER}"

    def _members(self) -> list[Member]:
        other = self.standby if self.primary is self else self.primary
        return [other, self]
