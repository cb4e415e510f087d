"""``python -m benchmarks.opensearch [CHUNKS]``: the index on an OpenSearch of one node and one shard on this machine.

The material is that of ``benchmarks.index``. CPU is that of this process and of the server together.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.index import CHUNKS_PER_JOB, DIM, Material, fill, latency, searches
from benchmarks.rows import Row
from datadistiller.indexing.opensearch import OpenSearchIndex
from datadistiller.indexing.opensearch_client import Access
from datadistiller.indexing.opensearch_layout import Content, Shape
from tools.services.opensearch import OpenSearchServer

GROUP = 2048


async def recall(
    index: OpenSearchIndex, material: Material, chunks: int, allowed: NDArray[np.int64] | None = None
) -> float:
    """Recall@10 of the vector search."""
    best = np.full((len(material.vectors), 0), 0.0)
    numbers = np.full((len(material.vectors), 0), 0)
    for at in range(0, chunks, GROUP):
        found = np.arange(at, min(at + GROUP, chunks))
        scores = material.vectors @ material.points(len(found), 1000 + at).astype(np.float32).T
        if allowed is not None:
            scores[:, ~np.isin(found // CHUNKS_PER_JOB, allowed)] = -2
        best = np.concatenate([best, scores], axis=1)
        numbers = np.concatenate([numbers, np.broadcast_to(found, scores.shape)], axis=1)
        top = np.argpartition(-best, 10, axis=1)[:, :10]
        best, numbers = np.take_along_axis(best, top, 1), np.take_along_axis(numbers, top, 1)
    got = [(await index.vector_search(query, 10, allowed)).numbers for query in material.vectors]
    return float(np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(numbers, got, strict=True)]))


async def run(chunks: int, server: OpenSearchServer) -> list[Row]:
    """All figures."""
    assert server.process is not None
    process, material = psutil.Process(server.process.pid), Material()
    index = OpenSearchIndex(Access([server.url]), Content("benchmark", DIM, "me"), Shape(replicas=0))
    await index.lead()
    await index.begin_rebuild()
    await index.end_rebuild()
    began = sum(process.cpu_times()[:2])
    wall, cpu = await fill(index, material, 0, chunks, GROUP)
    theirs = (sum(process.cpu_times()[:2]) - began) * 1000 / chunks
    figure = f"{wall:.3f} ms a chunk, CPU {cpu:.3f} ms here and {theirs:.3f} ms in OpenSearch"
    rows = [Row(f"commits of {GROUP}", "", figure)]
    rows += await searches(
        index, material, chunks // CHUNKS_PER_JOB, f"{chunks} chunks", partial(recall, index, material, chunks)
    )
    began = time.perf_counter()
    held = len(await index.contents())
    rows.append(Row("listing for the comparison", "", f"{time.perf_counter() - began:.2f} s for {held} chunks"))
    began = time.perf_counter()
    await index.lead()
    rows.append(Row("taking the lead", "", f"{time.perf_counter() - began:.2f} s"))
    at = chunks
    for group, count in ((10, 200), (100, 1000)):
        wall, cpu = await fill(index, material, at, count, group)
        rows.append(Row(f"commits of {group}", "", f"{wall * group:.0f} ms a commit, CPU {cpu:.3f} ms a chunk here"))
        at += count
    p50, p95 = await latency(lambda n: index.vector_search(material.vectors[n], 100))
    rows.append(Row("vector, after some small commits", "", f"p50 {p50:.2f} ms, p95 {p95:.2f} ms"))
    size = sum(file.stat().st_size for file in server.data.rglob("*") if file.is_file())
    rows.append(Row("disk", "", f"{size / at:.0f} bytes a chunk, translog included"))
    await index.close()
    return rows


async def _measure(chunks: int, folder: Path) -> list[Row]:
    async with OpenSearchServer(folder / "server", heap="1g") as server:
        return await run(chunks, server)


def measure(chunks: int = 100_000) -> list[Row]:
    """The figures, on a server of their own."""
    with tempfile.TemporaryDirectory(prefix="dd-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server may run as another user
        return asyncio.run(_measure(chunks, folder))


if __name__ == "__main__":
    for row in measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(f"{row.what}: {row.figure} {row.bar and f'(bar: {row.bar})'} {row.verdict}")
