"""How long after ``kill -9`` of everything until work goes on, and that nothing is lost or doubled."""

from __future__ import annotations

import time

import psycopg

from benchmarks.harness import Server, running, small_documents
from benchmarks.rows import Row


def _indexed(server: Server) -> int:
    with psycopg.connect(server.database) as conn:
        row = conn.execute("SELECT count(*) FROM document_chunks WHERE status = 'indexed'").fetchone()
    return int(row[0]) if row else 0


def measure() -> list[Row]:
    """2,000 documents; everything is killed in the middle and started again, three times."""
    files = small_documents(2000)
    took = []
    with running() as server:
        jobs = server.upload_all(files, priority="bulk")
        for _ in range(3):
            time.sleep(4)
            server.kill_everything()
            server.start()
            ready, before = time.perf_counter(), _indexed(server)
            while _indexed(server) == before and time.perf_counter() - ready < 60:
                time.sleep(0.05)
            took.append(time.perf_counter() - ready)
        states = server.wait(jobs)
        with psycopg.connect(server.database) as conn:
            row = conn.execute("SELECT count(*), count(DISTINCT (job_id, ordinal)) FROM document_chunks").fetchone()
    assert row is not None
    done = sum(state["status"] == "completed" for state in states.values())
    worst = max(took)
    figure = f"{worst:.1f} s at worst of 3; {done} of {len(files)} completed, {row[0] - row[1]} chunks doubled"
    reached = worst < 10 and done == len(files) and row[0] == row[1]
    return [Row("kill -9 of everything, until work goes on after the restart", "< 10 s, nothing lost", figure, reached)]
