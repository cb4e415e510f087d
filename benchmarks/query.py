"""Query latency at 100,000 chunks, idle and while documents are taken in."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import psycopg

from benchmarks.harness import DATA, Server, corpus_texts, percentile, running, small_documents
from benchmarks.rows import Row

CHUNKS = int(os.environ.get("BENCH_QUERY_CHUNKS", "100000"))
CHUNKS_PER_JOB = 100


def fill(server: Server, chunks: int = CHUNKS) -> None:
    """Writes finished documents of real text straight into PostgreSQL; the follower indexes them as it would any.

    Their vectors are clustered noise: embedding 100,000 texts would take half an hour and search does not care.
    """
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((1000, 384)).astype(np.float32)
    text = "".join(corpus_texts())
    with psycopg.connect(server.database) as conn:
        model = conn.execute("SELECT model_id FROM models WHERE active").fetchone()
        assert model is not None
        for job in range(chunks // CHUNKS_PER_JOB):
            _fill_job(conn, job, int(model[0]), text, centres, rng)
        conn.commit()
        conn.execute("SELECT pg_notify('dd_changes', '')")


def _fill_job(
    conn: psycopg.Connection[tuple[object, ...]],
    n: int,
    model: int,
    text: str,
    centres: np.ndarray,
    rng: np.random.Generator,
) -> None:
    row = conn.execute(
        "INSERT INTO document_jobs (job_id, filename, collection, media_type, file_size, sha256, object_key,"
        " status, total_chunks, page_count) VALUES (gen_random_uuid(), %s, 'bench', 'text/plain', 1, %s, '',"
        " 'embedding', %s, 1) RETURNING job_id",
        (f"filled-{n}.txt", f"filled-{n}", CHUNKS_PER_JOB),
    ).fetchone()
    assert row is not None
    size = 800
    at = [(n * CHUNKS_PER_JOB + k) * size % (len(text) - size) for k in range(CHUNKS_PER_JOB)]
    texts = [text[a : a + size] for a in at]
    page = "".join(texts)
    conn.execute("INSERT INTO document_pages (job_id, page, text) VALUES (%s, 1, %s)", (row[0], page))
    picks = centres[rng.integers(0, len(centres), CHUNKS_PER_JOB)]
    vectors = picks + rng.standard_normal(picks.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    numbers = conn.execute(
        "INSERT INTO document_chunks (chunk_id, job_id, attempt, ordinal, page, start_char, end_char, tokens, context,"
        " text) SELECT gen_random_uuid(), %s, 1, o - 1, 1, (o - 1) * %s, o * %s, 180, %s, t"
        " FROM unnest(%s::text[]) WITH ORDINALITY u(t, o) RETURNING chunk_no",
        (row[0], size, size, f"Filled document {n}", texts),
    ).fetchall()
    nos = [int(str(r[0])) for r in numbers]
    conn.execute(
        "INSERT INTO chunk_vectors (model_id, chunk_no, vector) SELECT %s, * FROM unnest(%s::bigint[], %s::bytea[])",
        (model, nos, [v.tobytes() for v in vectors.astype("<f2")]),
    )
    conn.execute("INSERT INTO chunk_changes (job_id, chunk_nos) VALUES (%s, %s)", (row[0], nos))


def wait_until_indexed(server: Server, seconds: float = 900) -> float:
    """Waits until the follower has acknowledged every chunk; returns the seconds it took."""
    begun = time.perf_counter()
    with psycopg.connect(server.database, autocommit=True) as conn:
        while time.perf_counter() - begun < seconds:
            row = conn.execute("SELECT count(*) FROM document_jobs WHERE status = 'embedding'").fetchone()
            if row is not None and row[0] == 0:
                return time.perf_counter() - begun
            time.sleep(0.2)
    raise TimeoutError("the follower did not index the filled documents")


def questions(count: int) -> list[str]:
    """Real questions of the public collections."""
    found: list[str] = []
    for name in ("squad2", "scifact_train", "cisi"):
        with (DATA / "retrieval" / name / "queries.jsonl").open(encoding="utf-8") as lines:
            found += [json.loads(line)["text"][:500] for line, _ in zip(lines, range(count // 3 + 1), strict=False)]
    return found[:count]


def latencies(server: Server, asked: list[str]) -> list[float]:
    """Milliseconds of each question, answer selection included, as the client sees them."""
    took = []
    for question in asked:
        begun = time.perf_counter()
        server.query(question)
        took.append(1000 * (time.perf_counter() - begun))
    return took


def measure() -> list[Row]:
    """Hybrid queries with answers: idle, then beside a stream of documents that saturates the workers."""
    with running() as server:
        fill(server)
        indexed = wait_until_indexed(server)
        time.sleep(float(os.environ.get("BENCH_SETTLE_SECONDS", "60")))  # sealed segments are built in the background
        latencies(server, questions(30))
        idle = latencies(server, questions(300))
        server.upload_all(small_documents(1500), priority="bulk")
        busy = latencies(server, questions(300))
        memory = server.memory_by_role()
    rows = []
    for name, took, bars in (("idle", idle, (15, 40)), ("while ingesting", busy, None)):
        p50, p95 = percentile(took, 0.5), percentile(took, 0.95)
        bar = f"p50 < {bars[0]} ms, p95 < {bars[1]} ms" if bars else ""
        reached = (p50 < bars[0] and p95 < bars[1]) if bars else None
        rows.append(Row(f"query at {CHUNKS:,} chunks, {name}, p50 / p95", bar, f"{p50:.1f} / {p95:.1f} ms", reached))
    rows.append(Row(f"indexing {CHUNKS:,} stored vectors", "", f"{CHUNKS / indexed:.0f} chunks/s"))
    rows.append(
        Row(f"memory of the API at {CHUNKS:,} chunks (PSS)", "< 600 MB", f"{memory['api']:.0f} MB", memory["api"] < 600)
    )
    return rows
