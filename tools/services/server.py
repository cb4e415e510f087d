"""A server in a folder: start, stop, kill, pause, wipe, and start again on the same ports."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM, Signals
from types import TracebackType
from typing import ClassVar, Self

from datadistiller import errors
from datadistiller.store import privileges
from tools.services import ports, processes, programs
from tools.services.programs import ServiceError

_LOG_LIMIT = 5_000_000  # bytes, above which a start begins a new log
_POLL = 0.1  # seconds


class Server(ABC):
    """One server. What it was told and who it is stands in ``folder/server.json``: any process may stop it later.

    ``ports`` are chosen once: those given, those it had in this folder if they are free, else free ones.
    """

    name: str
    title: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]] = ("client",)
    stop_signal: ClassVar[Signals] = SIGTERM
    stop_seconds: ClassVar[float] = 20.0
    start_seconds: ClassVar[float] = 120.0

    def __init__(self, folder: Path, given: Mapping[str, int] | None = None) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.log_start = 0  # where this life begins in the log
        self.runner = privileges.Runner()
        self._record = self.folder / "server.json"
        self._process: processes.ServerProcess | None = None
        recorded = self._recall()
        usable = self.alive() or ports.all_free(recorded.values())
        self.ports = dict(given or (recorded if recorded and usable else ports.free(self.port_names)))

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def install(self) -> None:
        """Fetches the programs if they are not there. Takes seconds to minutes the first time."""

    @abstractmethod
    def prepare(self) -> None:
        """Writes the configuration, and makes the data if there is none."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line."""

    @abstractmethod
    async def ready(self) -> bool:
        """True if it answers. Never raises, never takes more than about two seconds."""

    def environment(self) -> dict[str, str]:
        """The variables with which DataDistiller uses it."""
        return {}

    def variables(self) -> dict[str, str]:
        """The server's own variables."""
        return {}

    async def finish(self) -> None:  # noqa: B027 (a hook most servers do not need)
        """What is left to do when it answers."""

    async def start(self) -> None:
        """Starts it and waits until it can be used; harmless if it runs. ``ServiceError`` says why it does not."""
        await asyncio.to_thread(self.install)
        try:
            if not self.alive():
                await asyncio.to_thread(self._make_ready)
                self._spawn()  # not in a thread: if we are cancelled now, we know what to kill
            await self._until_ready()
            await self.finish()
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """Stops it in order; kills it if that takes too long. Harmless if it does not run."""
        if self._process is not None and self._process.alive():
            self._process.send_all(SIGCONT)
            self._process.send(self.stop_signal)
            await asyncio.to_thread(self._process.wait, self.stop_seconds)
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL, as by a power cut of this process: it gets no chance to finish anything."""
        if self._process is not None:
            await asyncio.to_thread(self._process.kill)
            self._process = None
            self._write_record()

    async def restart(self) -> None:
        """Stops it in order and starts it on the same ports, with the same data."""
        await self.stop()
        await self.start()

    async def wipe(self) -> None:
        """Its disk is lost: it is killed, and its data deleted. ``start`` makes a new, empty one on the same ports."""
        await self.kill()
        await asyncio.to_thread(shutil.rmtree, self.data, ignore_errors=True)

    async def pause(self) -> None:
        """SIGSTOP: it holds its connections and answers nothing."""
        if self._process is not None:
            self._process.send_all(SIGSTOP)

    async def resume(self) -> None:
        """SIGCONT, after ``pause``."""
        if self._process is not None:
            self._process.send_all(SIGCONT)

    def alive(self) -> bool:
        """True while its process runs, paused or not."""
        return self._process is not None and self._process.alive()

    @property
    def process(self) -> processes.ServerProcess | None:
        """Its process, None if it does not run."""
        return self._process if self.alive() else None

    def be_ordinary(self, program: Path) -> None:
        """For a program that refuses to run as root: finds an account that can, and lets it have the folder."""
        try:
            self.runner = privileges.runner(program.parent, self.folder, program.name)
        except errors.SetupError as error:
            raise ServiceError(f"{self.title} refuses to run as root, and no other account here can run it.") from error
        self.runner.own(self.folder, *(path for path in self.folder.iterdir() if path.is_dir() and path != self.data))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _make_ready(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        taken = [port for port in self.ports.values() if not ports.is_free(port)]
        if taken:
            raise ServiceError(f"{self.title} cannot listen on port {taken[0]}: another program does.")
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        self.prepare()

    def _spawn(self) -> None:
        self.log_start = self.log.stat().st_size if self.log.exists() else 0
        options = self.runner.options()
        options["env"] |= {"HOME": str(self.folder), **self.variables()}
        self._process = processes.spawn(self.runner.command(*self.command()), self.folder, self.log, options)
        self._write_record()

    async def _until_ready(self) -> None:
        end = time.monotonic() + self.start_seconds
        while not await self.ready():
            if not self.alive():
                raise ServiceError(f"{self.title} does not start; its log ends with:\n{programs.tail(self.log)}")
            if time.monotonic() > end:
                raise ServiceError(
                    f"{self.title} does not answer after {self.start_seconds:.0f} s; its log ends with:\n"
                    f"{programs.tail(self.log)}"
                )
            await asyncio.sleep(_POLL)

    def _recall(self) -> dict[str, int]:
        """What the record says: the process, if it still runs, and the ports."""
        try:
            record = json.loads(self._record.read_text())
            if record["pid"] is not None:
                self._process = processes.ServerProcess(int(record["pid"]), str(record["mark"]))
            return {name: int(record["ports"][name]) for name in self.port_names}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _write_record(self) -> None:
        if not self.folder.exists():
            return
        running = self._process
        record = {
            "name": self.name,
            "pid": running.pid if running else None,
            "mark": running.mark if running else None,
            "ports": self.ports,
        }
        part = self._record.with_suffix(".part")
        part.write_text(json.dumps(record))
        part.replace(self._record)


#: Makes a server on a folder.
Maker = Callable[[Path], Server]


@asynccontextmanager
async def running(*servers: Server) -> AsyncIterator[None]:
    """All of them, started at once; stopped at the end, whatever happens."""
    try:
        await start_all(*servers)
        yield
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


async def start_all(*servers: Server) -> None:
    """Starts all at once. ``ServiceError`` of the first that did not start; the others run."""
    results = await asyncio.gather(*(server.start() for server in servers), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
