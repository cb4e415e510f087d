"""What a chunk costs on real services, for docs/guide/cluster.md: ``python -m benchmarks.footprint_cluster``.

Kafka, MinIO, OpenSearch and PostgreSQL are started natively, each role is a process of its own (two for ``embed``),
and so many documents of 80 kB of real text (50 if not given) go from upload to searchable. CPU is read from /proc,
bytes are those of the files, memory is the largest of four samples a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import psutil

from benchmarks.footprint import BYTES, DOCUMENTS, Peaks, folder_bytes, until
from benchmarks.harness import Server, free_port, small_documents
from benchmarks.rows import Row
from tools.services import server as services
from tools.services.kafka import KafkaServer
from tools.services.minio import MinioServer
from tools.services.opensearch import OpenSearchServer
from tools.services.postgres import PostgresServer

ROLES = ("api", "relay", "ingest", "embed", "embed", "index", "reaper")
STOP_SECONDS = 60


class Cluster(Server):
    """The roles as processes of their own, on the services given."""

    def __init__(self, folder: Path, servers: Sequence[services.Server]) -> None:
        super().__init__(folder, port=0, opensearch_replicas=0)
        for server in servers:
            self.env |= server.environment()
        self.env["DATADISTILLER_PORT"] = str(self.port)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> float:
        """Starts all roles; the seconds until the API was ready."""
        begun = time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        for n, role in enumerate(ROLES):
            given = {"WORKER_ID": f"{role}-{n}", "DATADISTILLER_HEALTH_PORT": str(free_port())}
            argv = [sys.executable, "-m", "datadistiller", "serve", "--roles", role]
            with (self.folder / f"{role}-{n}.log").open("wb") as log:
                self._processes.append(subprocess.Popen(argv, env=self.env | given, stdout=log, stderr=log))
        self.process = self._processes[0]
        return self.until_ready(begun)

    def tree(self) -> list[psutil.Process]:
        """All processes of the system, the services not among them."""
        roots = [psutil.Process(process.pid) for process in self._processes]
        return [process for root in roots for process in (root, *root.children(recursive=True))]

    def stop(self) -> None:
        """SIGTERM to each, which drains it."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(STOP_SECONDS)


@contextlib.contextmanager
def running() -> Iterator[tuple[Cluster, dict[str, services.Server]]]:
    """A fresh cluster in a temporary folder, and its services by name."""
    folder = Path(tempfile.mkdtemp(prefix="dd-bench-"))
    folder.chmod(0o755)
    kinds = {"kafka": KafkaServer, "minio": MinioServer, "opensearch": OpenSearchServer, "postgres": PostgresServer}
    servers: dict[str, services.Server] = {name: kind(folder / name) for name, kind in kinds.items()}
    try:
        asyncio.run(services.start_all(*servers.values()))
        cluster = Cluster(folder / "system", list(servers.values()))
        try:
            cluster.start()
            yield cluster, servers
        finally:
            cluster.stop()
            cluster.http.close()
    finally:
        for server in servers.values():
            asyncio.run(server.stop())
        shutil.rmtree(folder, ignore_errors=True)


def cpu(server: services.Server) -> float:
    """CPU seconds of a service so far."""
    assert server.process is not None
    root = psutil.Process(server.process.pid)
    return float(sum(sum(process.cpu_times()[:4]) for process in (root, *root.children(recursive=True))))


def memory(server: services.Server) -> float:
    """Proportional set size of a service, MB."""
    assert server.process is not None
    root = psutil.Process(server.process.pid)
    family = (root, *root.children(recursive=True))
    return float(sum(process.memory_full_info().pss for process in family)) / 1e6


def index_bytes(server: services.Server) -> dict[str, int]:
    """What OpenSearch holds on disk once everything is written and merged."""
    url = str(server.environment()["DATADISTILLER_INDEX_URL"]).replace("opensearch://", "http://")
    with httpx.Client(base_url=url, timeout=300) as http:
        http.post("/_forcemerge", params={"max_num_segments": 1}).raise_for_status()
        for last in ("/_refresh", "/_flush?force=true"):  # what was merged away is gone only then
            http.post(last).raise_for_status()
        stats = http.get("/_stats/store,docs").raise_for_status().json()["indices"]
    return {name: int(of["primaries"]["store"]["size_in_bytes"]) for name, of in stats.items()}


def topic_bytes(server: services.Server, topic: str) -> int:
    """What the records in a topic's partitions take; their indexes are empty files of 10 MB at first."""
    return sum(path.stat().st_size for path in server.data.rglob(f"{topic}-[0-9]*/*.log"))


def measure(count: int = DOCUMENTS) -> list[Row]:
    """The table of a run."""
    with running() as (cluster, servers):
        idle = cluster.memory_by_role()
        before = {name: cpu(server) for name, server in servers.items()}
        with Peaks(cluster) as peaks:
            n = until(cluster, cluster.upload_all(small_documents(count, BYTES), priority="bulk"), "completed")
        used = {name: cpu(server) - before[name] for name, server in servers.items()}
        held = {name: memory(server) for name, server in servers.items()}
        indexes = {name: size for name, size in index_bytes(servers["opensearch"]).items() if size > 1000}
        chunks, events = (topic_bytes(servers["kafka"], name) for name in ("chunk-processing", "document-events"))
        stored = folder_bytes(servers["minio"].data)
    rows = [Row("documents, chunks", "", f"{count} of 80 kB, {n}")]
    rows += [Row(f"CPU, {r}", "", f"{1000 * s / n:.2f} ms a chunk") for r, s in sorted((peaks.cpu | used).items())]
    rows += [Row(f"memory, {r}, idle", "", f"{mb:.0f} MB PSS") for r, mb in sorted(idle.items())]
    rows += [Row(f"memory, one {r}", "", f"{mb:.0f} MB PSS, {peaks.rss[r]:.0f} MB RSS") for r, mb in peaks.pss.items()]
    rows += [Row(f"memory, {name}", "", f"{mb:.0f} MB PSS") for name, mb in held.items()]
    return [
        *rows,
        Row("Kafka, chunk-processing", "", f"{chunks / n:.0f} bytes a chunk"),
        Row("Kafka, document-events", "", f"{events / count:.0f} bytes a document"),
        Row("OpenSearch, merged, without replicas", "", f"{sum(indexes.values()) / n:.0f} bytes a chunk"),
        Row("MinIO", "", f"{stored / count:.0f} bytes a document"),
    ]


if __name__ == "__main__":
    for row in measure(int(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTS):
        print(f"{row.what:<44} {row.figure}")
