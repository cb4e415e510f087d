"""A live cluster to measure: Kafka, MinIO, OpenSearch and PostgreSQL of its own, and each role a process.

Everything runs on this machine. A process joins and leaves by name; its embedding model can be a stand-in
(``benchmarks.stand_in``), which nothing but a benchmark can choose.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import LiteralString

import psutil
import psycopg

from benchmarks.harness import free_port
from benchmarks.role_processes import RoleProcesses
from tools.services import server as services
from tools.services.kafka import KafkaServer
from tools.services.minio import MinioServer
from tools.services.opensearch import OpenSearchServer
from tools.services.postgres import PostgresServer

ROLES = ("api", "relay", "ingest", "embed", "embed", "index", "reaper")
STOP_SECONDS = 60


class Cluster(RoleProcesses):
    """The roles as processes of their own, on the services given."""

    def __init__(
        self, folder: Path, servers: Mapping[str, services.Server], roles: Sequence[str] = ROLES, **settings: object
    ) -> None:
        named = {name: value for server in servers.values() for name, value in server.environment().items()}
        super().__init__(folder, named, **settings)
        self.services = servers
        self._roles = roles
        self._started = 0
        self._stand_ins: dict[str, float] = {}  # by process: how long its model takes to answer, seconds

    @property
    def database(self) -> str:
        """The connection string of PostgreSQL."""
        return self.services["postgres"].url

    def start(self) -> float:
        """Starts all roles; the seconds until the API was ready."""
        begun = time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        names = [self.join(role) for role in self._roles]
        self.process = self.processes[names[self._roles.index("api")]]
        return self.until_ready(begun)

    def join(self, role: str, answer_seconds: float | None = None) -> str:
        """Starts a process of a role; its name. With ``answer_seconds`` its model is a stand-in that takes so long."""
        self._started += 1
        name = f"{role}-{self._started}"
        if answer_seconds is not None:
            self._stand_ins[name] = answer_seconds
        self.launch(name)
        return name

    def command(self, name: str) -> list[str]:
        """The command line of a process."""
        if name not in self._stand_ins:
            return super().command(name)
        seconds = str(self._stand_ins[name])
        return [sys.executable, "-m", "benchmarks.stand_in", "--seconds", seconds, *super().command(name)[-2:]]

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a process, with a port of its own for its health."""
        return {**super().environment(name), "DATADISTILLER_HEALTH_PORT": str(free_port())}

    def leave(self, *names: str) -> None:
        """SIGTERM to each, which drains it."""
        left = [self.processes.pop(name) for name in names]
        for process in left:
            process.terminate()
        for process in left:
            process.wait(STOP_SECONDS)

    def check(self) -> None:
        """Raises if a process has ended that was not told to."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = self.log_of(name).read_text()[-500:]
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{log}")

    def stop(self) -> None:
        """Everything leaves."""
        self.leave(*self.processes)

    def cpu_by_role(self) -> dict[str, float]:
        """CPU seconds spent so far, by role and by service."""
        return super().cpu_by_role() | {name: cpu(server) for name, server in self.services.items()}

    def number(self, statement: LiteralString) -> int:
        """What a statement with one number for an answer says."""
        with psycopg.connect(self.database, autocommit=True) as conn:
            row = conn.execute(statement).fetchone()
        assert row is not None
        return int(row[0])


@contextlib.contextmanager
def running(roles: Sequence[str] = ROLES, **settings: object) -> Iterator[Cluster]:
    """A fresh cluster in a temporary folder; everything is stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="dd-bench-"))
    folder.chmod(0o755)
    kinds = {"kafka": KafkaServer, "minio": MinioServer, "opensearch": OpenSearchServer, "postgres": PostgresServer}
    servers: dict[str, services.Server] = {name: kind(folder / name) for name, kind in kinds.items()}
    try:
        asyncio.run(services.start_all(*servers.values()))
        cluster = Cluster(folder / "system", servers, roles, **settings)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
            cluster.http.close()
    finally:
        for server in servers.values():
            asyncio.run(server.stop())
        shutil.rmtree(folder, ignore_errors=True)


def cpu(server: services.Server) -> float:
    """CPU seconds of a service so far; 0 while it does not run."""
    return float(sum(sum(process.cpu_times()[:4]) for process in _family(server)))


def memory(server: services.Server) -> float:
    """Proportional set size of a service, MB."""
    return float(sum(process.memory_full_info().pss for process in _family(server))) / 1e6


def _family(server: services.Server) -> list[psutil.Process]:
    if server.process is None:
        return []
    root = psutil.Process(server.process.pid)
    return [root, *root.children(recursive=True)]
