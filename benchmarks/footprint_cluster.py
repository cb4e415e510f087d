"""What a chunk costs on real services, for docs/guide/cluster.md: ``python -m benchmarks.footprint_cluster``.

Kafka, MinIO, OpenSearch and PostgreSQL are started natively, each role is a process of its own (two for ``embed``),
and so many documents of 80 kB of real text (50 if not given) go from upload to searchable. CPU is read from /proc,
bytes are those of the files, memory is the largest of four samples a second.
"""

from __future__ import annotations

import sys

import httpx

from benchmarks.cluster import memory, running
from benchmarks.footprint import BYTES, DOCUMENTS, Peaks, folder_bytes, until
from benchmarks.harness import small_documents
from benchmarks.rows import Row
from tools.services import server as services


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
    with running() as cluster:
        servers = cluster.services
        idle = cluster.memory_by_role()
        with Peaks(cluster) as peaks:
            n = until(cluster, cluster.upload_all(small_documents(count, BYTES), priority="bulk"), "completed")
        held = {name: memory(server) for name, server in servers.items()}
        indexes = {name: size for name, size in index_bytes(servers["opensearch"]).items() if size > 1000}
        chunks, events = (topic_bytes(servers["kafka"], name) for name in ("chunk-processing", "document-events"))
        stored = folder_bytes(servers["minio"].data)
    rows = [Row("documents, chunks", "", f"{count} of 80 kB, {n}")]
    rows += [Row(f"CPU, {r}", "", f"{1000 * s / n:.2f} ms a chunk") for r, s in sorted(peaks.cpu.items())]
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
