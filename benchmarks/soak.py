"""Memory over a long run: the same kind of work again and again."""

from __future__ import annotations

import os
import time

from benchmarks.harness import DATA, Server, running, small_documents
from benchmarks.query import questions
from benchmarks.rows import Row

ROUNDS = int(os.environ.get("BENCH_SOAK_ROUNDS", "6"))
TEXTS, FILINGS, QUESTIONS = 300, 4, 100
#: So much more after the last round than after the second is noise: PostgreSQL's shared pages fill up, for one.
FLAT_SHARE = 0.1


def one_round(server: Server, n: int) -> dict[str, float]:
    """Takes documents in, asks, deletes all of it again; returns the memory by role some seconds later, MB."""
    files = small_documents((n + 1) * TEXTS)[n * TEXTS :]
    filings = sorted((DATA / "filings").glob("*.pdf"))
    at = n * FILINGS % len(filings)
    files += [(path.name, path.read_bytes()) for path in filings[at : at + FILINGS]]
    jobs = server.wait(server.upload_all(files, priority="bulk"))
    for question in questions(QUESTIONS):
        server.query(question)
    for job in jobs:
        server.http.delete(f"/api/v2/documents/{job}").raise_for_status()
    time.sleep(15)
    return server.memory_by_role()


def measure() -> list[Row]:
    """Proportional set size after each round."""
    with running() as server:
        server.wait(server.upload_all(small_documents(1, 1999)))
        rounds = [one_round(server, n) for n in range(ROUNDS)]
        for memory in rounds:
            print(", ".join(f"{role} {mb:.0f}" for role, mb in sorted(memory.items(), key=lambda kv: -kv[1])))
    totals = [sum(memory.values()) for memory in rounds]
    figure = " ".join(f"{total:.0f}" for total in totals) + " MB"
    flat = totals[-1] < totals[1] * (1 + FLAT_SHARE)
    what = f"memory (PSS) after each of {ROUNDS} rounds of {TEXTS} texts, {FILINGS} filings, {QUESTIONS} questions"
    return [Row(what, "flat", figure, flat)]
