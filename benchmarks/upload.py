"""How long an upload of 1 MB takes while the workers are saturated."""

from __future__ import annotations

import random
import threading
import time

from benchmarks.harness import Server, percentile, running, small_documents
from benchmarks.rows import Row

UPLOADS = 100


def one_megabyte(seed: int) -> bytes:
    """A text file of 1 MB that no other seed gives."""
    words = random.Random(seed)
    return b" ".join(b"%x" % words.getrandbits(40) for _ in range(95_000))[:1_000_000]


def _saturate(server: Server, stop: threading.Event) -> None:
    for name, content in small_documents(4000):
        if stop.is_set():
            return
        server.upload(name, content, priority="bulk")
        time.sleep(0.02)


def rows(server: Server, uploads: int = UPLOADS) -> list[Row]:
    """p50 and p95 of uploads, one after the other, beside a stream of small documents."""
    stop = threading.Event()
    server.upload_all(small_documents(300), priority="bulk")
    busy = threading.Thread(target=_saturate, args=(server, stop))
    busy.start()
    took = []
    for n in range(uploads):
        content = one_megabyte(n)
        begun = time.perf_counter()
        answer = server.upload(f"big-{n}.txt", content, priority="bulk")
        took.append(1000 * (time.perf_counter() - begun))
        server.http.delete(f"/api/v2/documents/{answer['job_id']}").raise_for_status()
    stop.set()
    busy.join()
    p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
    return [
        Row(
            "upload of 1 MB while the workers are saturated, p50 / p95",
            "p95 < 200 ms",
            f"{p50:.0f} / {p95:.0f} ms",
            p95 < 200,
        )
    ]


def measure() -> list[Row]:
    """100 uploads to a system of its own."""
    with running() as server:
        return rows(server)
