"""PostgreSQL twice: a primary, and a standby that has all that was ever answered and may take its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg

from tools.services import ports
from tools.services.postgres import PASSWORD, USER, PostgresServer

#: Network namespaces have addresses beyond 127.0.0.1.
_WHOLE_LOOPBACK = "host all all 127.0.0.0/8 scram-sha-256\n"


class Standby(PostgresServer):
    """A copy of the server at ``primary``, a connection string, that follows it until it is promoted."""

    def __init__(self, folder: Path, primary: str) -> None:
        super().__init__(folder)
        self._primary = primary

    def creation(self, fresh: Path) -> list[str]:
        """A base backup that goes on with the primary's log."""
        program = str(self.program("pg_basebackup"))
        return [program, "-D", str(fresh), "-d", self._primary, "-R", "-X", "stream", "-c", "fast"]

    async def promote(self) -> None:
        """From now on it takes writes, on a timeline of its own."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as conn:
            await conn.execute("SELECT pg_promote()")


class PostgresPair(PostgresServer):
    """The primary, with its standby beside it. A commit is answered only when both have it.

    DataDistiller is given both addresses, the standby's first, and is not told which is which.
    """

    def __init__(self, folder: Path, given: Mapping[str, int] | None = None) -> None:
        super().__init__(folder, given)
        # Beside this one, where the remains of killed test runs are looked for.
        self.standby = Standby(folder.parent / "standby", super().url)

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
        await self._reload()
        await self.standby.start()
        await self._reload("ALTER SYSTEM SET synchronous_standby_names = '*'")

    async def stop(self) -> None:
        """Stops both."""
        await self.standby.stop()
        await super().stop()

    async def fail_over(self) -> None:
        """The primary is killed and never comes back; the standby takes its place."""
        await self.kill()
        await self.standby.promote()

    async def _reload(self, change: str = "SELECT 1") -> None:
        """Makes a change to the settings, and has them read again."""
        async with await psycopg.AsyncConnection.connect(super().url, autocommit=True) as conn:
            await conn.execute(change.encode())
            await conn.execute("SELECT pg_reload_conf()")

    def _both(self) -> str:
        hosts = ",".join(f"{ports.LOOPBACK}:{each.ports['client']}" for each in (self.standby, self))
        return f"postgresql://{USER}:{PASSWORD}@{hosts}/{USER}"
