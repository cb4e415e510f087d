"""Documents in the database without an upload: through the store, as accept and ingest leave them."""

from __future__ import annotations

import hashlib
import uuid

from datadistiller import model
from datadistiller.messages import INGEST_TOPIC, Done, Ingested
from datadistiller.store.database import Database
from datadistiller.store.jobs import Jobs, NewJob
from datadistiller.store.messages import Limits, Messages

LIMITS = Limits(tries=3, solo_crashes=3)


async def accepted(db: Database) -> uuid.UUID:
    """A document that was just uploaded: pending, with its ingest message."""
    job_id = uuid.uuid4()
    new = NewJob(
        job_id=job_id,
        filename="note.txt",
        collection="default",
        media_type="text/plain",
        file_size=10,
        sha256=hashlib.sha256(job_id.bytes).hexdigest(),
        object_key=f"uploads/{job_id}/note.txt",
        lane=model.Lane.INTERACTIVE,
        metadata={},
    )
    await Jobs(db).accept(new)
    return job_id


async def chunked(db: Database, chunks: int) -> uuid.UUID:
    """A document that was read: embedding, with one message per chunk."""
    job_id = await accepted(db)
    messages = Messages(db)
    [delivery] = await messages.claim(INGEST_TOPIC, 1, uuid.uuid4(), 60)
    settled = await messages.settle(LIMITS, [Done(delivery, _ingested(job_id, chunks))])
    assert not settled.refused
    return job_id


def _ingested(job_id: uuid.UUID, count: int) -> Ingested:
    lines = [f"Line {n}." for n in range(count)]
    text = "\n".join(lines)
    chunks, start = [], 0
    for n, line in enumerate(lines):
        chunk_id = model.make_chunk_id(job_id, n, line)
        chunks.append(model.Chunk(chunk_id, n, 1, start, start + len(line), line, "note.txt", 5))
        start += len(line) + 1
    return Ingested(model.ParsedDocument([model.Page(1, text)], "", "text", "text/plain"), chunks)


async def vectors(db: Database) -> list[bytes]:
    """All stored vectors, in the order of their chunks."""
    async with db.connection() as conn:
        rows = await (await conn.execute("SELECT vector FROM chunk_vectors ORDER BY chunk_no")).fetchall()
    return [bytes(row["vector"]) for row in rows]


async def messages_left(db: Database) -> list[dict[str, object]]:
    """All messages, oldest first."""
    async with db.connection() as conn:
        return await (await conn.execute("SELECT * FROM messages ORDER BY id")).fetchall()
