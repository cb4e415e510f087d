"""What a chunk and a process cost, for docs/guide/cluster.md: ``python -m benchmarks.footprint [documents]``.

So many documents of 80 kB of real text (50 if not given) are cut with no embedding worker running, so that every
message waits; then they are embedded; at last five real PDF filings are cut beside it. Bytes are those of the
relations and files after a checkpoint, CPU is read from /proc by role, memory is the largest of four samples a second:
PSS counts shared pages once over all processes, RSS is what a process alone in a container needs.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from benchmarks.harness import DATA, Server, role_of, running, small_documents
from benchmarks.rows import Row

DOCUMENTS = 50
BYTES = 80_000
TABLES = """
    SELECT c.relname, c.reltuples::bigint, pg_relation_size(c.oid)
         + CASE WHEN c.reltoastrelid = 0 THEN 0 ELSE pg_total_relation_size(c.reltoastrelid) END, pg_indexes_size(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname = 'public' ORDER BY pg_total_relation_size(c.oid) DESC
"""


class Peaks:
    """The most memory of one process of each role, in MB, and the CPU seconds of each role, while entered."""

    def __init__(self, server: Server) -> None:
        self.pss: dict[str, float] = {}
        self.rss: dict[str, float] = {}
        self.cpu: dict[str, float] = {}
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Peaks:
        self._before = self._server.cpu_by_role()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        after = self._server.cpu_by_role()
        self.cpu = {role: seconds - self._before.get(role, 0.0) for role, seconds in after.items()}

    def _sample(self) -> None:
        while not self._stop.wait(0.25):
            for process in self._server.tree():
                with contextlib.suppress(psutil.NoSuchProcess):
                    role, used = role_of(process), process.memory_full_info()
                    self.pss[role] = max(self.pss.get(role, 0.0), used.pss / 1e6)
                    self.rss[role] = max(self.rss.get(role, 0.0), used.rss / 1e6)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run. Bytes in all; the rows of a table are an estimate of PostgreSQL's."""

    documents: int
    chunks: int
    idle: dict[str, float]  # PSS in MB by role
    cutting: Peaks
    embedding: Peaks
    filings: Peaks
    waiting: dict[str, tuple[int, int, int]]  # tables while every chunk waits: rows, bytes, bytes of indexes
    done: dict[str, tuple[int, int, int]]
    wal: int
    objects: int
    index: int


def run(count: int) -> Measured:
    """Measures on a system of its own."""
    with running(embed_workers=0) as server:
        time.sleep(10)
        idle = server.memory_by_role()
        written = wal(server)
        with Peaks(server) as cutting:
            jobs = server.upload_all(small_documents(count, BYTES), priority="bulk")
            chunks = until(server, jobs, "embedding")
        waiting = tables(server)
        server.stop()
        server.env["DATADISTILLER_EMBED_WORKERS"] = "2"
        server.start()
        with Peaks(server) as embedding:
            until(server, jobs, "completed")
        done, written = tables(server), wal(server) - written
        objects, index = (folder_bytes(server.folder / name) for name in ("objects", "index"))
        with Peaks(server) as filings:
            pdfs = [(path.name, path.read_bytes()) for path in sorted((DATA / "filings").glob("*.pdf"))[:5]]
            until(server, server.upload_all(pdfs, priority="bulk"), "embedding", "completed")
    return Measured(count, chunks, idle, cutting, embedding, filings, waiting, done, written, objects, index)


def measure(count: int = DOCUMENTS) -> list[Row]:
    """The table of a run."""
    found = run(count)
    n = found.chunks
    rows = [Row("documents, chunks", "", f"{found.documents} of 80 kB, {n}")]
    rows += [Row(f"CPU, {role}, cutting", "", _ms(s, n)) for role, s in sorted(found.cutting.cpu.items())]
    rows += [Row(f"CPU, {role}, embedding", "", _ms(s, n)) for role, s in sorted(found.embedding.cpu.items())]
    rows += [Row(f"memory, {role}, idle", "", f"{mb:.0f} MB PSS in all") for role, mb in sorted(found.idle.items())]
    for name, peaks in (("cutting", found.cutting), ("embedding", found.embedding), ("filings", found.filings)):
        for role, mb in sorted(peaks.pss.items()):
            rows.append(Row(f"memory, one {role}, {name}", "", f"{mb:.0f} MB PSS, {peaks.rss[role]:.0f} MB RSS"))
    rows.append(Row("messages, one that waits", "", _split(found.waiting["messages"], n)))
    for table in ("document_chunks", "chunk_vectors", "document_pages", "chunk_changes", "job_events", "document_jobs"):
        rows.append(Row(f"{table}, per chunk", "", _split(found.done[table], n)))
    total = sum(heap + index for name, (_, heap, index) in found.done.items() if name != "messages")
    return [
        *rows,
        Row("database without messages, per chunk", "", f"{total / n:.0f} bytes"),
        Row("write-ahead log, per chunk", "", f"{found.wal / n:.0f} bytes"),
        Row("local index, per chunk", "", f"{found.index / n:.0f} bytes"),
        Row("object store, per chunk", "", f"{found.objects / n:.0f} bytes"),
    ]


def _ms(seconds: float, chunks: int) -> str:
    return f"{1000 * seconds / chunks:.2f} ms a chunk"


def _split(table: tuple[int, int, int], chunks: int) -> str:
    _, heap, index = table
    return f"{(heap + index) / chunks:.0f} bytes ({heap / chunks:.0f} table, {index / chunks:.0f} indexes)"


def connect(server: Server) -> psycopg.Connection[tuple[object, ...]]:
    """To the database of a running server."""
    return psycopg.connect(server.database, autocommit=True)


def wal(server: Server) -> int:
    """The position in the write-ahead log, bytes."""
    with connect(server) as conn:
        row = conn.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint").fetchone()
    assert row is not None
    return int(str(row[0]))


def tables(server: Server) -> dict[str, tuple[int, int, int]]:
    """Rows, bytes of the table (long values included) and bytes of its indexes, by table, the largest first."""
    with connect(server) as conn:
        conn.execute("ANALYZE")
        conn.execute("CHECKPOINT")
        found = conn.execute(TABLES).fetchall()
    return {str(name): (int(str(rows)), int(str(heap)), int(str(index))) for name, rows, heap, index in found}


def folder_bytes(folder: Path) -> int:
    """What the files below a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def until(server: Server, jobs: list[str], *statuses: str) -> int:
    """Waits until each document has one of the statuses, asking rarely; returns how many chunks they have."""
    states = []
    for job in jobs:
        while (state := server.status(job))["status"] not in statuses:
            assert state["error"] is None, state
            time.sleep(0.5)
        states.append(state)
    return sum(int(state["total_chunks"]) for state in states)


if __name__ == "__main__":
    for row in measure(int(sys.argv[1]) if len(sys.argv) > 1 else DOCUMENTS):
        print(f"{row.what:<44} {row.figure}")
