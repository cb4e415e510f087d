"""PostgreSQL in two majors: the oldest one of the system, and the newest, the wheel's. On TCP, with a password."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from signal import SIGINT, Signals
from typing import ClassVar

import psycopg

from datadistiller.store import embedded
from tools.services import ports, programs
from tools.services.programs import ServiceError
from tools.services.server import Server

USER = "datadistiller"  # and the database
PASSWORD = "datadistiller"
OLDEST = "postgresql-oldest"
NEWEST = "postgresql-newest"
_SYSTEM = Path("/usr/lib/postgresql")
_SETTINGS = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
}


def system_binaries() -> list[Path]:
    """Folders of the PostgreSQL programs the system has, oldest version first."""
    found = _SYSTEM.glob("*/bin/postgres")
    return sorted((path.parent for path in found), key=lambda folder: int(folder.parent.name))


class PostgresServer(Server):
    """One server on the programs in ``binaries``; ``settings`` are given on its command line and win."""

    title = "PostgreSQL"
    stop_signal: ClassVar[Signals] = SIGINT  # fast: connections are closed

    def __init__(
        self,
        folder: Path,
        given: Mapping[str, int] | None = None,
        binaries: Path | None = None,
        name: str = NEWEST,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        super().__init__(folder, given)
        self._binaries = binaries
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        """The connection string."""
        return self._url(USER)

    def environment(self) -> dict[str, str]:
        """The database's URL; of the newest only, there can be one."""
        return {"DATADISTILLER_DATABASE_URL": self.url} if self.name == NEWEST else {}

    def install(self) -> None:
        """The oldest comes with the system, the newest with the project's dependencies."""
        if self._binaries is not None:
            return
        if self.name == NEWEST:
            self._binaries = embedded.bundled_binaries()
            return
        found = system_binaries()
        if not found:
            raise ServiceError(f"There is no PostgreSQL under {_SYSTEM}: install one (Debian: postgresql).")
        self._binaries = found[0]

    def prepare(self) -> None:
        """Makes a cluster if there is none; aside, then renamed, so that half a one is never used."""
        self.be_ordinary(self.program("postgres"))
        # Whoever its number belongs to now: this folder's server is known not to run.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        if (self.data / "PG_VERSION").exists():
            return
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        argv = self.runner.command(*self.creation(fresh))
        done = subprocess.run(argv, cwd=self.folder, capture_output=True, check=False, **self.runner.options())
        if done.returncode != 0:
            text = programs.last_lines(done.stderr.decode(errors="replace"))
            raise ServiceError(f"PostgreSQL's cluster cannot be made in {self.folder}.\n{text}")
        fresh.rename(self.data)

    def creation(self, fresh: Path) -> list[str]:
        """The command line that makes a cluster in a folder that is not there yet."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        return [
            str(self.program("initdb")), "-D", str(fresh), "-U", USER, "--auth=scram-sha-256",
            f"--pwfile={password}", "--encoding=UTF8", "--locale=C", "--no-instructions",
        ]  # fmt: skip

    def command(self) -> list[str]:
        """The postmaster."""
        argv = [str(self.program("postgres")), "-D", str(self.data), "-p", str(self.ports["client"])]
        for name, value in {**_SETTINGS, **self._settings}.items():
            argv += ["-c", f"{name}={value}"]
        return argv

    async def ready(self) -> bool:
        """True if it takes connections."""
        with contextlib.suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(self._url("postgres"), connect_timeout=2):
                return True
        return False

    async def finish(self) -> None:
        """The database is there."""
        async with await psycopg.AsyncConnection.connect(self._url("postgres"), autocommit=True) as conn:
            found = await conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (USER,))
            if await found.fetchone() is None:
                await conn.execute(f"CREATE DATABASE {USER}".encode())

    def program(self, name: str) -> Path:
        """The path of one of PostgreSQL's programs; ``install`` comes first."""
        assert self._binaries is not None, "install() comes first"
        return self._binaries / name

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}:{PASSWORD}@{ports.LOOPBACK}:{self.ports['client']}/{database}"
