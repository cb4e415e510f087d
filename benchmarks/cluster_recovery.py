"""Seconds after each fault until the cluster is well again.

A document is uploaded at the moment at which the service is back, or the process killed; measured is the time until
it is searchable. Killed processes are started again at once, as an orchestrator does. Others are under way meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx

from benchmarks.cluster import Cluster, running
from benchmarks.harness import small_documents
from benchmarks.rows import Row
from tools.services.kafka import KafkaServer

UNDER_WAY = 20
KILLED = ("relay", "ingest", "embed", "index", "reaper")


def killed(name: str) -> Callable[[Cluster], None]:
    """A service is killed, and started again after two seconds."""

    def fault(cluster: Cluster) -> None:
        asyncio.run(cluster.services[name].kill())
        time.sleep(2)
        asyncio.run(cluster.services[name].start())

    return fault


def wiped(cluster: Cluster) -> None:
    """The broker's disk is lost."""
    asyncio.run(cluster.services["kafka"].wipe())
    asyncio.run(cluster.services["kafka"].start())


def topic_deleted(cluster: Cluster) -> None:
    """Somebody deletes the topic of the chunks."""
    broker = cluster.services["kafka"]
    assert isinstance(broker, KafkaServer)
    asyncio.run(broker.tool("kafka-topics", "--delete", "--topic", "chunk-processing"))


def index_deleted(cluster: Cluster) -> None:
    """Somebody deletes the index."""
    with httpx.Client(base_url=cluster.services["opensearch"].url, timeout=60) as http:
        for index in http.get("/_cat/indices/datadistiller-*", params={"format": "json"}).json():
            http.delete(f"/{index['index']}").raise_for_status()


def worker_killed(cluster: Cluster) -> None:
    """kill -9 of every process but the API; each is started again at once."""
    for role in KILLED:
        for name in cluster.of_role(role):
            process = cluster.processes.pop(name)
            process.kill()
            process.wait()
            cluster.join(role)


FAULTS: dict[str, Callable[[Cluster], None]] = {
    "the broker is killed and started": killed("kafka"),
    "the broker's disk is wiped": wiped,
    "the chunk topic is deleted": topic_deleted,
    "PostgreSQL is killed and started": killed("postgres"),
    "MinIO is killed and started": killed("minio"),
    "OpenSearch is killed and started": killed("opensearch"),
    "the index is deleted": index_deleted,
    "every worker is killed": worker_killed,
}


def recovered(cluster: Cluster, fault: Callable[[Cluster], None], n: int) -> float:
    """Seconds from the end of the fault until a document uploaded then is searchable; at last all others are."""
    files = small_documents((UNDER_WAY + 1) * (n + 1))[(UNDER_WAY + 1) * n :]
    under_way = cluster.upload_all(files[1:], priority="bulk")
    fault(cluster)
    begun = time.perf_counter()
    job = str(cluster.upload(*files[0])["job_id"])
    [state] = cluster.wait([job], look_seconds=0.05).values()
    seconds = time.perf_counter() - begun
    states = [state, *cluster.wait(under_way).values()]
    assert {each["status"] for each in states} == {"completed"}, states
    return seconds


def measure(faults: int = len(FAULTS)) -> list[Row]:
    """A row for each fault."""
    with running() as cluster:
        cluster.wait(cluster.upload_all(small_documents(10, 1999)))
        found = {name: recovered(cluster, fault, n) for n, (name, fault) in enumerate([*FAULTS.items()][:faults])}
    return [Row(f"searchable again after: {name}", "seconds", f"{took:.1f} s") for name, took in found.items()]
