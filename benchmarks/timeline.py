"""What waits for what while documents are taken in: half a second a line.

    python -m benchmarks.timeline filings        # the PDF files of DATADISTILLER_DATA
    python -m benchmarks.timeline notes 1000     # so many texts of 2 kB

Each line: cores in use by role, documents and chunks by status, vectors, and messages of each topic (leased + ready).
"""

from __future__ import annotations

import sys
import threading
import time

import psycopg

from benchmarks.harness import DATA, Server, running, small_documents

PERIOD_SECONDS = 0.5
COUNTS = """
SELECT coalesce(string_agg(what || ' ' || n, ', ' ORDER BY what), '-') FROM (
    SELECT status AS what, count(*)::text AS n FROM document_jobs GROUP BY 1
    UNION ALL SELECT 'chunks ' || status, count(*)::text FROM document_chunks GROUP BY status
    UNION ALL SELECT 'vectors', count(*)::text FROM chunk_vectors
    UNION ALL SELECT topic, count(*) FILTER (WHERE lease_token IS NOT NULL) || '+' ||
                            count(*) FILTER (WHERE lease_token IS NULL) FROM messages GROUP BY topic) s
"""


def files(kind: str, count: int) -> list[tuple[str, bytes]]:
    """Names and contents of what is uploaded."""
    if kind == "notes":
        return small_documents(count)
    return [(path.name, path.read_bytes()) for path in sorted((DATA / "filings").glob("*.pdf"))]


def watch(server: Server, done: threading.Event) -> None:
    """Prints a line each period until ``done``."""
    begun = before = time.perf_counter()
    used = server.cpu_by_role()
    with psycopg.connect(server.database, autocommit=True) as conn:
        while not done.wait(PERIOD_SECONDS):
            now, spent = time.perf_counter(), server.cpu_by_role()
            cores = {role: (spent[role] - used.get(role, 0.0)) / (now - before) for role in spent}
            row = conn.execute(COUNTS).fetchone()
            shown = " ".join(f"{role} {value:.2f}" for role, value in cores.items() if value >= 0.005)
            print(
                f"{now - begun:5.1f} s  {sum(cores.values()):.2f} cores: {shown}; {row[0] if row else '-'}", flush=True
            )
            before, used = now, spent


def main() -> None:
    """Takes the documents in and watches."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "filings"
    uploads = files(kind, int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
    with running() as server:
        server.wait([str(server.upload("warm.txt", b"A warm up of the system.")["job_id"])])
        done = threading.Event()
        watching = threading.Thread(target=watch, args=(server, done))
        watching.start()
        try:
            begun, used = time.perf_counter(), server.cpu_by_role()
            jobs = server.wait(server.upload_all(uploads, priority="bulk"))
            seconds, spent = time.perf_counter() - begun, server.cpu_by_role()
        finally:
            done.set()
            watching.join()
        chunks = sum(job["total_chunks"] or 0 for job in jobs.values())
        cpu = {role: round(spent[role] - used.get(role, 0.0), 1) for role in spent}
        print(f"{len(jobs)} documents, {chunks} chunks in {seconds:.1f} s; CPU {sum(cpu.values()):.1f} s: {cpu}")


if __name__ == "__main__":
    main()
