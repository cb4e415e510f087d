"""Questions to the API over OpenSearch, and what it costs to index what they search."""

from __future__ import annotations

import os

from benchmarks import query
from benchmarks.cluster import running
from benchmarks.harness import percentile
from benchmarks.rows import Row

CHUNKS = int(os.environ.get("BENCH_QUERY_CHUNKS", "100000"))
QUESTIONS = 300


def measure(chunks: int = CHUNKS, questions: int = QUESTIONS) -> list[Row]:
    """Hybrid questions with answers at 100,000 chunks, idle. What else a chunk costs is not in the row of the index."""
    with running(("api", "index", "relay", "reaper")) as cluster:
        before = cluster.cpu_by_role()
        query.fill(cluster, chunks)
        seconds = query.wait_until_indexed(cluster)
        spent = {part: total - before.get(part, 0.0) for part, total in cluster.cpu_by_role().items()}
        query.latencies(cluster, query.questions(30))
        print("asking", flush=True)
        took = query.latencies(cluster, query.questions(questions))
    p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
    costs = ", ".join(f"{part} {1000 * spent[part] / chunks:.2f}" for part in ("opensearch", "index", "postgres"))
    return [
        Row(f"query over OpenSearch at {chunks:,} chunks, answer included, p50 / p95", "p50 < 30 ms",
            f"{p50:.1f} / {p95:.1f} ms", p50 < 30),
        Row("indexing stored vectors into OpenSearch", "", f"{chunks / seconds:.0f} chunks a second; CPU {costs} ms"),
    ]  # fmt: skip
