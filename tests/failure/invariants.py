"""Compares PostgreSQL, the object store and the search index completely, on a stopped or a running system."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import psycopg

from benchmarks.harness import Server
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.indexing.local import LocalIndex
from datadistiller.store import embedded

FINISHED = ("completed", "failed", "partial", "cancelled")


def broken(conn: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    """What does not hold in the database, in words; empty if all is well. Every job must be finished."""
    checks = {
        "unfinished jobs": "SELECT job_id, status FROM document_jobs WHERE deleted_at IS NULL"
        " AND status NOT IN ('completed', 'failed', 'partial', 'cancelled')",
        "messages left": "SELECT id, topic FROM messages",
        "completed without all chunks indexed": "SELECT j.job_id FROM document_jobs j WHERE j.status = 'completed'"
        " AND j.deleted_at IS NULL AND (j.total_chunks IS NULL OR j.total_chunks = 0 OR j.total_chunks <>"
        " (SELECT count(*) FROM document_chunks c WHERE c.job_id = j.job_id AND c.status = 'indexed'))",
        "chunks doubled": "SELECT job_id, version, ordinal FROM document_chunks GROUP BY 1, 2, 3 HAVING count(*) > 1",
        "chunks of other versions": "SELECT job_id FROM document_chunks c JOIN document_jobs j USING (job_id)"
        " WHERE c.version <> j.version AND j.next IS NULL",
        "files nobody swept": "SELECT key FROM retired_objects",
        "citations untrue": "SELECT c.chunk_id FROM document_chunks c JOIN document_pages p"
        " USING (job_id, version, page)"
        " WHERE substr(p.text, c.start_char + 1, c.end_char - c.start_char) <> c.text",
        "indexed without a vector": "SELECT c.chunk_id FROM document_chunks c WHERE c.status = 'indexed'"
        " AND NOT EXISTS (SELECT 1 FROM chunk_vectors v WHERE v.chunk_no = c.chunk_no)",
        "failed without a reason": "SELECT job_id FROM document_jobs WHERE status = 'failed'"
        " AND (error IS NULL OR error->>'code' = '' OR error->>'hint' = '')",
        "partial without a reason": "SELECT job_id FROM document_jobs WHERE status = 'partial'"
        " AND failed_chunks = 0 AND failed_pages = '[]'",
        "events out of order": "SELECT job_id FROM (SELECT job_id, attempt, status_rank(status) AS r,"
        " lag(status_rank(status)) OVER (PARTITION BY job_id, attempt ORDER BY n) AS before FROM job_events"
        " WHERE status <> 'deleted') e WHERE r < before",
    }
    found = []
    for name, statement in checks.items():
        rows = conn.execute(statement).fetchall()
        if rows:
            found.append(f"{name}: {len(rows)}, for example {rows[:3]}")
    return found


def live_chunks(conn: psycopg.Connection[tuple[object, ...]]) -> dict[int, UUID]:
    """The chunks the search index must hold, and no others."""
    rows = conn.execute(
        "SELECT c.chunk_no, c.chunk_id FROM document_chunks c JOIN document_jobs j USING (job_id)"
        " JOIN chunk_vectors v ON v.chunk_no = c.chunk_no JOIN models m ON m.model_id = v.model_id AND m.active"
        " WHERE j.deleted_at IS NULL AND j.searchable AND c.version = j.version"
    ).fetchall()
    return {int(str(no)): UUID(str(chunk_id)) for no, chunk_id in rows}


def objects_known(conn: psycopg.Connection[tuple[object, ...]]) -> set[str]:
    """The object keys of all documents that are not deleted."""
    rows = conn.execute("SELECT object_key FROM document_jobs WHERE deleted_at IS NULL").fetchall()
    return {str(key) for (key,) in rows}


def objects_stored(folder: Path) -> set[str]:
    """The keys of all objects under a local object store."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_stores_agree(server: Server, when: str) -> None:
    """PostgreSQL, object store and index hold exactly the same documents. Stops the server to read its index."""
    with psycopg.connect(embedded.url_of(server.folder / "postgres")) as conn:
        assert (wrong := broken(conn)) == [], f"{wrong} {when}"
        live = live_chunks(conn)
        known = objects_known(conn)
    stored = objects_stored(server.folder / "objects")
    assert stored == known, f"{len(stored - known)} orphans, {len(known - stored)} missing {when}"
    server.stop()
    assert index_contents(server.folder / "index") == live, f"index differs {when}"


def index_contents(folder: Path) -> dict[int, UUID]:
    """What the local index holds on disk."""

    async def read() -> dict[int, UUID]:
        model = OnnxEmbedder(threads=1)
        index = LocalIndex(folder, model.dim, model.fingerprint)
        try:
            return dict(await index.contents())
        finally:
            await index.close()

    return asyncio.run(read())
