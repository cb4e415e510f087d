"""Chunks a second with one, two and three embedding workers."""

from __future__ import annotations

import time

from benchmarks.harness import large_texts, running, small_documents
from benchmarks.rows import Row


def measure() -> list[Row]:
    """The same 40 texts of 100 kB with 1, 2 and 3 embedding workers; left alone, a single one would use all cores."""
    files = large_texts(40)
    rates = {}
    for workers in (1, 2, 3):
        with running(embed_workers=workers, embedding_threads=1) as server:
            server.wait(server.upload_all(small_documents(10, 1999)))
            begun = time.perf_counter()
            jobs = server.wait(server.upload_all(files, priority="bulk"))
            rates[workers] = sum(job["total_chunks"] for job in jobs.values()) / (time.perf_counter() - begun)
    figure = ", ".join(f"{n}: {rate:.0f} chunks/s ({rate / rates[1]:.2f}x)" for n, rate in rates.items())
    return [
        Row(
            "1 / 2 / 3 embedding workers of one thread",
            "scale until the cores are full",
            figure,
            rates[2] > 1.4 * rates[1],
        )
    ]
