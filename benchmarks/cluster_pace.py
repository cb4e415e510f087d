"""How many chunk messages a second relay, broker, workers and database carry together, and what each of them costs.

The documents are cut first, with nobody to embed them, so that every message waits; then workers with a stand-in for
the model join (``benchmarks.stand_in``). The index does not follow meanwhile: what it costs is a figure of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.cluster import Cluster, running
from benchmarks.harness import large_texts
from benchmarks.rows import Row

VOLUMES = 120  # of 100 kB, 120 chunks each
VOLUMES_A_WORKER = 25
ANSWER_SECONDS = 0.05
BATCHES_A_SECOND, BATCH = 1 / ANSWER_SECONDS, 32
WARM = 0.05  # of the messages: the relay starts
GATHERING_SECONDS = 8  # a worker's departure from the group may hold up the others for six
WAITING = "SELECT count(*) FROM messages WHERE topic = 'chunk-processing'"
UNREAD = "SELECT count(*) FROM messages WHERE topic = 'doc-ingest-requests'"


@dataclass(frozen=True, slots=True)
class Pace:
    """Messages that were settled in so many seconds, and the CPU seconds of each part meanwhile."""

    messages: int
    seconds: float
    spent: dict[str, float]

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def costs(self) -> str:
        """Milliseconds of CPU a message, in all and by part, the dearest first."""
        parts = [(1000 * seconds / self.messages, part) for part, seconds in self.spent.items()]
        named = ", ".join(f"{part} {ms:.2f}" for ms, part in sorted(parts, reverse=True) if ms >= 0.005)
        return f"{sum(ms for ms, _ in parts):.2f} ms ({named})"


def cut(cluster: Cluster, volumes: int, collection: str) -> None:
    """Has documents read; afterwards their chunk messages wait.

    The texts of each collection are its own, by a word in every sentence: a vector that is there is not made again.
    """
    word = f". {collection} ".encode()
    files = [(name, content.replace(b". ", word)) for name, content in large_texts(volumes)]
    cluster.upload_all(files, priority="bulk", collection=collection)
    while cluster.number(UNREAD):
        time.sleep(0.2)


def emptied(cluster: Cluster, workers: int, answer_seconds: float) -> Pace:
    """Lets so many workers with a stand-in do all that waits; the clock starts when they share the topic.

    The relay is away until then. What it had published before, its window, they take while they gather.
    """
    cluster.leave(*cluster.of_role("relay"))
    names = [cluster.join("embed", answer_seconds) for _ in range(workers)]
    while not all('"partitions_assigned"' in (cluster.folder / f"{name}.log").read_text() for name in names):
        cluster.check()
        time.sleep(0.1)
    time.sleep(GATHERING_SECONDS)
    first = cluster.number(WAITING)
    cluster.join("relay")
    while (left := cluster.number(WAITING)) > (1 - WARM) * first:
        time.sleep(0.02)
    begun, before, first = time.perf_counter(), cluster.cpu_by_role(), left
    while cluster.number(WAITING) > 0:
        time.sleep(0.1)
    seconds, after = time.perf_counter() - begun, cluster.cpu_by_role()
    cluster.leave(*names)
    return Pace(first, seconds, {part: after[part] - before.get(part, 0.0) for part in after})


def carried(cluster: Cluster, volumes: int) -> list[Row]:
    """With the null embedder, two workers."""
    cut(cluster, volumes, "null")
    pace = emptied(cluster, 2, 0)
    figure = f"{pace.rate:.0f} a second ({pace.messages} in {pace.seconds:.1f} s)"
    return [
        Row("chunk messages, null embedder, 2 workers, everything on this machine", ">= 1,500 a second, aim 3,000",
            figure, pace.rate >= 1500),
        Row("the same: CPU of one message", "", pace.costs),
    ]  # fmt: skip


def scaled(cluster: Cluster, volumes: int) -> list[Row]:
    """With one, two and three workers that wait 50 ms for each batch of 32."""
    paces = {}
    for workers in (1, 2, 3):
        cut(cluster, workers * volumes, f"remote-{workers}")
        paces[workers] = emptied(cluster, workers, ANSWER_SECONDS)
    rates = {n: pace.rate for n, pace in paces.items()}
    linear = {n: rate / (n * rates[1]) for n, rate in rates.items()}
    figure = ", ".join(f"{n}: {rate:.0f} a second ({linear[n]:.2f} of linear)" for n, rate in rates.items())
    most = BATCHES_A_SECOND * BATCH
    return [
        Row(f"1 / 2 / 3 workers, an embedder that answers after 50 ms (at most {most:.0f} each)", ">= 0.9 of linear",
            figure, min(linear.values()) >= 0.9),
        Row("the same with 3: CPU of one message", "", paces[3].costs),
    ]  # fmt: skip


def measure(volumes: int = VOLUMES, volumes_a_worker: int = VOLUMES_A_WORKER) -> list[Row]:
    """Both, on a cluster of their own. The index worker leaves once the empty index is there."""
    with running(("api", "relay", "ingest", "index", "reaper")) as cluster:
        cluster.leave(*cluster.of_role("index"))
        return carried(cluster, volumes) + scaled(cluster, volumes_a_worker)
