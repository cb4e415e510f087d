"""``python -m benchmarks.index [CHUNKS]``: the local index alone, 100,000 chunks of 384 dimensions by default.

Vectors are unit vectors in 500 clusters with as much noise as distance between them, harder than those of real texts;
texts have 130 words of a Zipf-like vocabulary with English function words where they belong. Recall is against a
scan in double precision. Nothing else heavy should run on the machine.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row
from datadistiller.indexing import Entry, Index
from datadistiller.indexing import local_vectors as vectors
from datadistiller.indexing.local import LocalIndex

#: Recall@10 under a filter.
Recalled = Callable[[NDArray[np.int64] | None], Awaitable[float]]

DIM = 384
CHUNKS_PER_JOB = 20
QUERIES = 300
FUNCTION_WORDS = "the of and to in a is that for it as was with be by on not he this are or his from at which but"


class Material:
    """The chunks and questions of one run, made from fixed seeds."""

    def __init__(self) -> None:
        self._centres = np.random.default_rng(0).standard_normal((500, DIM)).astype(np.float32)
        dice = random.Random(1)
        vocabulary = [*FUNCTION_WORDS.split(), *(f"{'aeiou'[n % 5]}{n:x}" for n in range(60_000))]
        weights = [1 / (rank + 3) for rank in range(len(vocabulary))]
        self._words = dice.choices(vocabulary, weights, k=2_000_000)
        self.questions = [self.text(dice.randrange(1_000_000))[:60] for _ in range(QUERIES)]
        self.vectors = self.points(QUERIES, 2).astype(np.float32)

    def points(self, count: int, seed: int) -> NDArray[np.float16]:
        """``float16[count, DIM]``."""
        random = np.random.default_rng(seed)
        points = self._centres[random.integers(0, 500, count)]
        points = points + random.standard_normal((count, DIM), dtype=np.float32)
        unit: NDArray[np.float16] = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)
        return unit

    def text(self, seed: int) -> str:
        """130 words."""
        at = seed * 7919 % (len(self._words) - 130)
        return " ".join(self._words[at : at + 130])

    def entries(self, first: int, count: int) -> list[Entry]:
        """Chunks with numbers from ``first``."""
        codes = self.points(count, 1000 + first)
        return [
            Entry(n, UUID(int=n), n // CHUNKS_PER_JOB, code, "Title > Heading", self.text(n))
            for n, code in enumerate(codes, first)
        ]


async def latency(search: Callable[[int], Awaitable[object]]) -> tuple[float, float]:
    """Median and 95th percentile of the searches, milliseconds."""
    taken = []
    for number in range(QUERIES):
        began = time.perf_counter()
        await search(number)
        taken.append((time.perf_counter() - began) * 1000)
    return float(np.percentile(taken, 50)), float(np.percentile(taken, 95))


def memory() -> float:
    """Private memory of this process, MB (Linux; 0 elsewhere)."""
    rollup = Path("/proc/self/smaps_rollup")
    if not rollup.exists():
        return 0.0
    fields = dict(line.split(":", 1) for line in rollup.read_text().splitlines()[1:])
    return int(fields["Pss_Anon"].split()[0]) / 1000


async def fill(index: Index, material: Material, first: int, count: int, group: int) -> tuple[float, float]:
    """Adds chunks in commits of ``group``; wall and CPU milliseconds per chunk."""
    wall = cpu = 0.0
    for at in range(first, first + count, group):
        entries = material.entries(at, min(group, first + count - at))
        began, began_cpu = time.perf_counter(), time.process_time()
        await index.add(entries)
        await index.commit()
        wall, cpu = wall + time.perf_counter() - began, cpu + time.process_time() - began_cpu
    return wall * 1000 / count, cpu * 1000 / count


async def recall(index: LocalIndex, material: Material, allowed: NDArray[np.int64] | None) -> float:
    """Recall@10 of the vector search."""
    parts = index._view.parts
    columns = vectors.live_columns(parts)
    codes = np.concatenate([part.rows().codes for part in parts]).astype(np.float32)
    scores = material.vectors @ codes.T
    if allowed is not None:
        scores[:, ~np.isin(columns.jobs, allowed)] = -2
    truth = columns.numbers[np.argpartition(-scores, 10, axis=1)[:, :10]]
    found = [(await index.vector_search(query, 10, allowed)).numbers for query in material.vectors]
    return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(truth, found, strict=True)]))


async def searches(index: Index, material: Material, jobs: int, what: str, recalled: Recalled) -> list[Row]:
    """Latencies: vector, keyword, both at once, alone and under filters; and the recall."""
    rows = []
    every = np.arange(jobs, dtype=np.int64)
    half = every[::2]
    filters = {"": None, ", 1 document": every[7:8], ", 100 documents": every[::50][:100], ", half": half}
    for name, allowed in filters.items():

        async def vector(n: int, allowed: NDArray[np.int64] | None = allowed) -> object:
            return await index.vector_search(material.vectors[n], 100, allowed)

        async def keyword(n: int, allowed: NDArray[np.int64] | None = allowed) -> object:
            return await index.keyword_search(material.questions[n], 100, allowed)

        async def both(
            n: int,
            vector: Callable[..., Awaitable[object]] = vector,
            keyword: Callable[..., Awaitable[object]] = keyword,
        ) -> object:
            return await asyncio.gather(vector(n), keyword(n))

        for kind, search in (("vector", vector), ("keyword", keyword), ("both", both)):
            p50, p95 = await latency(search)
            rows.append(Row(f"{what}: {kind}{name}", "p50 < 15 ms", f"p50 {p50:.2f} ms, p95 {p95:.2f} ms", p50 < 15))
    for name, allowed in {"": None, ", half": half}.items():
        found = await recalled(allowed)
        rows.append(Row(f"{what}: recall@10{name}", ">= 0.98", f"{found:.4f}", found >= 0.98))
    return rows


async def run(chunks: int, folder: Path) -> list[Row]:
    """All figures."""
    material, before = Material(), memory()
    index = LocalIndex(folder, DIM, "benchmark")
    wall, cpu = await fill(index, material, 0, chunks, 2048)
    rows = [Row("bulk, commits of 2048", "CPU <= 0.5 ms a chunk", f"{wall:.3f} ms, CPU {cpu:.3f} ms", cpu <= 0.5)]
    busy = await latency(lambda n: index.vector_search(material.vectors[n], 100))
    rows.append(Row("vector while a segment is sealed", "", f"p50 {busy[0]:.2f} ms, p95 {busy[1]:.2f} ms"))
    began = time.perf_counter()
    await index.settle()
    await index.commit()
    await index.settle()
    rows.append(Row("sealed after the last commit", "", f"{time.perf_counter() - began:.1f} s"))
    shape = [str(part.entries) for part in index._view.parts if part.sealed]
    flat = sum(part.entries for part in index._view.parts if not part.sealed)
    rows.append(Row("sealed segments", "", f"{', '.join(shape) or 'none'}; {flat} rows not sealed"))
    rows.append(Row("private memory", "", f"{memory() - before:.0f} MB"))
    recalled = partial(recall, index, material)
    rows += await searches(index, material, chunks // CHUNKS_PER_JOB, f"{chunks} chunks", recalled)
    at = chunks
    for group, count in ((10, 500), (25, 1000), (100, 2000)):
        wall, cpu = await fill(index, material, at, count, group)
        figure = f"{wall * group:.1f} ms a commit, CPU {cpu:.3f} ms a chunk"
        rows.append(Row(f"commits of {group}", "CPU <= 0.5 ms a chunk", figure, cpu <= 0.5))
        at += count
    await index.close()
    began, index = time.perf_counter(), LocalIndex(folder, DIM, "benchmark")
    held = len(await index.contents())
    rows.append(Row("opening and comparing", "", f"{time.perf_counter() - began:.2f} s for {held} chunks"))
    await index.close()
    return rows


def measure(chunks: int = 100_000) -> list[Row]:
    """The figures, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="dd-bench-") as folder:
        return asyncio.run(run(chunks, Path(folder) / "index"))


if __name__ == "__main__":
    for row in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(f"{row.what}: {row.figure} {row.bar and f'(bar: {row.bar})'} {row.verdict}")
