"""The distributed system whole: real Kafka, PostgreSQL, MinIO and OpenSearch, and a process for each role.

A process that dies is started again, as an orchestrator does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from benchmarks.role_processes import RoleProcesses
from tests import services
from tools.services.kafka import KafkaServer
from tools.services.minio import MinioServer
from tools.services.opensearch import OpenSearchServer
from tools.services.postgres import PostgresServer

#: The API is one process here; whoever wants more starts them.
PROCESSES = ("api", "relay,reaper", "index", "ingest", "embed", "embed", "embed")


_C = TypeVar("_C", bound="Cluster")


@dataclass(frozen=True)
class Services:
    """What the roles stand on."""

    kafka: KafkaServer
    postgres: PostgresServer
    minio: MinioServer
    opensearch: OpenSearchServer

    def environment(self) -> dict[str, str]:
        """The settings that name them: nothing else differs from one machine."""
        each = (self.kafka, self.postgres, self.minio, self.opensearch)
        return {name: value for server in each for name, value in server.environment().items()}


class Cluster(RoleProcesses):
    """A process that ends is launched again until it is told to leave."""

    def __init__(self, folder: Path, parts: Services, processes: Sequence[str] = PROCESSES, **settings: object) -> None:
        super().__init__(folder, parts.environment(), **settings)
        self.services = parts
        self._first = processes
        self.env |= {"DATADISTILLER_DATA_DIR": str(folder), "DATADISTILLER_HEALTH_PORT": "0"}
        self._left: list[subprocess.Popen[bytes]] = []
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> float:
        """Starts every process; returns the seconds until questions can be answered."""
        begun = time.perf_counter()
        self.folder.mkdir(exist_ok=True)
        for n, roles in enumerate(self._first):
            self.launch(f"{roles}-{n}")
        self._keeper.start()
        while time.perf_counter() - begun < 180:
            with contextlib.suppress(httpx.TransportError):
                if self.http.get("/health").status_code == 200:
                    return time.perf_counter() - begun
            time.sleep(0.1)
        raise RuntimeError(f"The cluster is not healthy after three minutes: {self._why()}")

    def leave(self, name: str, number: signal.Signals = signal.SIGTERM) -> subprocess.Popen[bytes]:
        """Sends a process a signal, after which it is not started again."""
        process = self.processes.pop(name)
        self._left.append(process)
        process.send_signal(number)
        return process

    def stop(self) -> None:
        """SIGTERM to all; what does not drain in time is killed."""
        self._ending.set()
        if self._keeper.is_alive():
            self._keeper.join()
        everything = [*self.processes.values(), *self._left]
        for process in everything:
            process.terminate()
        for process in everything:
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def last_words(self, lines: int = 8) -> str:
        """The end of every process's log, and which servers run: for the sentence of a failure."""
        parts = (self.services.kafka, self.services.postgres, self.services.minio, self.services.opensearch)
        found = [f"{part.title}: {'runs' if part.alive() else 'does not run'}" for part in parts]
        for log in sorted(self.folder.glob("*.log")):
            found += [f"--- {log.stem}", *(line[:300] for line in log.read_text().splitlines()[-lines:])]
        return "\n".join(found)

    def _keep(self) -> None:
        while not self._ending.wait(0.2):
            for name, process in list(self.processes.items()):
                if process.poll() is not None and self.processes.get(name) is process:
                    self.launch(name)

    def _why(self) -> str:
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get("/health").text
        return "\n".join(log.read_text()[-500:] for log in self.folder.glob("*.log"))


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[Cluster]:
    """A whole fresh cluster with services of its own; everything is stopped and removed at the end."""
    async with services_of(PostgresServer) as parts:
        with scratch() as folder:
            async with started(Cluster(folder / "data", parts, **settings)) as cluster:
                yield cluster


@asynccontextmanager
async def services_of(postgres: type[PostgresServer]) -> AsyncIterator[Services]:
    """Fresh services for one cluster."""
    async with AsyncExitStack() as stack:
        kinds = (KafkaServer, postgres, MinioServer, OpenSearchServer)
        yield Services(*await asyncio.gather(*(stack.enter_async_context(services.own(kind)) for kind in kinds)))


@asynccontextmanager
async def started(cluster: _C) -> AsyncIterator[_C]:
    """Runs the cluster; stops it at the end."""
    try:
        await asyncio.to_thread(cluster.start)
        yield cluster
    finally:
        cluster.stop()
        cluster.http.close()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what the processes write; with ``KEEP_LOGS`` in the environment it stays."""
    folder = Path(tempfile.mkdtemp(prefix="dd-cluster-"))
    try:
        yield folder
    finally:
        if os.environ.get("KEEP_LOGS") is None:
            shutil.rmtree(folder, ignore_errors=True)
