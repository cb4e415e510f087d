"""Questions to the API over OpenSearch, and what it costs to index what they search."""

from __future__ import annotations

import os
import time

from benchmarks import query
from benchmarks.cluster import running
from benchmarks.harness import percentile
from benchmarks.rows import Row

CHUNKS = int(os.environ.get("BENCH_QUERY_CHUNKS", "100000"))
QUESTIONS = 300
#: So that OpenSearch has merged what was written, as after any rest, seconds.
SETTLE = float(os.environ.get("BENCH_SETTLE_SECONDS", "60"))


def measure(chunks: int = CHUNKS, questions: int = QUESTIONS) -> list[Row]:
    """Hybrid questions with answers at 100,000 chunks, idle. What else a chunk costs is not in the row of the index."""
    with running(("api", "index", "relay", "reaper")) as cluster:
        before = cluster.cpu_by_role()
        query.fill(cluster, chunks)
        seconds = query.wait_until_indexed(cluster)
        spent = {part: total - before.get(part, 0.0) for part, total in cluster.cpu_by_role().items()}
        time.sleep(SETTLE)
        first, took = (query.latencies(cluster, query.questions(questions)) for _ in range(2))
    p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
    cold = f"{percentile(first, 0.5):.1f} / {percentile(first, 0.95):.1f} ms"
    costs = ", ".join(f"{part} {1000 * spent[part] / chunks:.2f}" for part in ("opensearch", "index", "postgres"))
    return [
        Row(f"query over OpenSearch at {chunks:,} chunks, answer included, p50 / p95", "p50 < 30 ms",
            f"{p50:.1f} / {p95:.1f} ms", p50 < 30),
        Row(f"the same, the first {questions} questions to an OpenSearch that was just started", "", cold),
        Row("indexing stored vectors into OpenSearch", "", f"{chunks / seconds:.0f} chunks a second; CPU {costs} ms"),
    ]  # fmt: skip
