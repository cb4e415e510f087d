"""Vectors found again by their text: in live chunks only, of the same model only, at one look into an index each."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from uuid import UUID

import numpy as np
import pytest

from datadistiller import model
from datadistiller.messages import CHUNK_TOPIC, REMOVE_TOPIC, Done, Embedded, IndexedText, Removed
from datadistiller.store.migrate import migrate
from datadistiller.store.models import Models
from datadistiller.store.statements import Statements
from tests.contracts.store_kit import DIM, Kit

#: What tells one text from another, and what must not: spaces, scripts, marks, what is not one character, length.
TEXTS = [
    "alpha",
    "alpha ",
    "Alpha",
    "é",
    "e\u0301",
    "今日は",
    "👩‍👩‍👧",
    "\\x41",
    "a\\b",
    "%s",
    "x" * 5000,
    " ",
    "a\nb\r\nc",
]


async def ready(kit: Kit, texts: Sequence[str], **kwargs: str) -> UUID:
    """A document that was read and not embedded."""
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, texts, **kwargs)
    return job_id


async def embed(kit: Kit, first: float = 1.0) -> list[bytes]:
    """Embeds all that waits, each with a vector of its own; returns those in the order of the messages."""
    deliveries = await kit.claim(CHUNK_TOPIC, 100)
    vectors = [np.array([first, n, 0, 0], np.float16) for n, _ in enumerate(deliveries)]
    await kit.settle(*[Done(d, Embedded(v)) for d, v in zip(deliveries, vectors, strict=True)])
    return [vector.tobytes() for vector in vectors]


async def look(kit: Kit, job_id: UUID, model_id: int | None = None) -> list[IndexedText]:
    """What an embedding worker reads of a document's chunks, in order."""
    rows = await kit.rows("SELECT chunk_id FROM document_chunks WHERE job_id = %s ORDER BY ordinal", job_id)
    texts = await kit.chunks.texts([row["chunk_id"] for row in rows], model_id or kit.model_id)
    return [texts[row["chunk_id"]] for row in rows]


async def found(kit: Kit, job_id: UUID, model_id: int | None = None) -> list[bytes | None]:
    """The vectors it finds."""
    indexed = await look(kit, job_id, model_id)
    return [None if i.vector is None else i.vector.tobytes() for i in indexed]


async def purge(kit: Kit, job_id: UUID) -> None:
    """Deletes a document to the end."""
    await kit.jobs.delete(job_id)
    (removal,) = await kit.claim(REMOVE_TOPIC)
    assert not (await kit.settle(Done(removal, Removed()))).refused


async def test_each_text_finds_its_own_vector_in_another_document(kit: Kit) -> None:
    first = await ready(kit, TEXTS)
    assert await found(kit, first) == [None] * len(TEXTS)
    vectors = await embed(kit)
    second = await ready(kit, [*reversed(TEXTS), "another"])
    assert await found(kit, second) == [*reversed(vectors), None]
    assert [i.text for i in await look(kit, second)] == [f"Title\n{text}" for text in [*reversed(TEXTS), "another"]]


async def test_the_context_is_part_of_the_text(kit: Kit) -> None:
    await ready(kit, ["text"], context="Title")
    [vector] = await embed(kit)
    assert await found(kit, await ready(kit, ["text"], context="Other")) == [None]
    assert await found(kit, await ready(kit, ["text"], context="")) == [None]
    whole = await ready(kit, ["Title\ntext"], context="")  # another chunk, the same text to the model
    assert await found(kit, whole) == [vector]


async def test_another_model_finds_nothing(kit: Kit) -> None:
    job_id = await ready(kit, ["a", "b"])
    await embed(kit)
    await kit.run("UPDATE models SET active = false")
    other = await Models(kit.db).activate("another-model", DIM)
    assert other != kit.model_id
    assert await found(kit, job_id, other) == [None, None]
    assert None not in await found(kit, job_id)


async def test_what_is_purged_is_not_found(kit: Kit) -> None:
    gone = await ready(kit, ["secret", "shared"])
    await embed(kit, first=1)
    kept = await ready(kit, ["shared"])
    [shared] = await embed(kit, first=2)
    await purge(kit, gone)
    assert await found(kit, await ready(kit, ["secret", "shared"])) == [None, shared]
    keys = {bytes(row["key"]) for row in await kit.rows("SELECT key FROM chunk_vectors")}
    assert keys == {hashlib.sha256(f"{kit.model_id} Title\nshared".encode()).digest()}
    assert (await kit.jobs.get(kept)).total_chunks == 1


async def test_a_vector_outlives_the_document_it_was_found_in(kit: Kit) -> None:
    source = await ready(kit, ["shared"])
    [vector] = await embed(kit)
    other = await ready(kit, ["shared"])
    [delivery] = await kit.claim(CHUNK_TOPIC)
    [indexed] = await look(kit, other)
    await purge(kit, source)  # between the look and the settlement
    assert indexed.vector is not None
    assert not (await kit.settle(Done(delivery, Embedded(indexed.vector)))).refused
    assert await found(kit, await ready(kit, ["shared"])) == [vector]


async def test_a_retry_that_reads_more_embeds_only_what_is_new(kit: Kit) -> None:
    position = await kit.position()
    job_id = await ready(kit, ["b", "c"], broken_pages=1)
    vectors = await embed(kit)
    position = await kit.follow(position)
    await kit.jobs.retry(job_id)
    await kit.ingest(job_id, ["a", "b", "c", "c", "d"])  # each of the old ones at another place
    assert await found(kit, job_id) == [None, vectors[0], vectors[1], vectors[1], None]
    new = await kit.claim(CHUNK_TOPIC)
    rows = await kit.rows("SELECT text FROM document_chunks WHERE chunk_id = ANY(%s)", [d.chunk_id for d in new])
    assert sorted(row["text"] for row in rows) == ["a", "d"]
    await kit.settle(*[Done(d, Embedded(np.ones(DIM, np.float16))) for d in new])
    await kit.follow(position)
    job = await kit.jobs.get(job_id)
    assert (job.status, job.total_chunks, job.processed_chunks) == (model.Status.COMPLETED, 5, 5)


async def test_many_at_once_leave_one_vector_per_chunk_and_the_same(kit: Kit) -> None:
    jobs = [await ready(kit, ["shared", f"own {n}"]) for n in range(8)]
    batches = [await kit.claim(CHUNK_TOPIC, 2) for _ in jobs]

    async def work(n: int) -> None:
        texts = await kit.chunks.texts([d.chunk_id for d in batches[n] if d.chunk_id], kit.model_id)
        new = np.array([1, n, 0, 0], np.float16)
        done = []
        for delivery in batches[n]:
            assert delivery.chunk_id
            known = texts[delivery.chunk_id].vector
            done.append(Done(delivery, Embedded(new if known is None else known)))
        await kit.settle(*done)
        assert (await kit.settle(*done)).refused == [d.message_id for d in batches[n]], "the same again"

    await asyncio.gather(*(work(n) for n in range(8)))
    rows = await kit.rows("SELECT count(*) AS n, count(DISTINCT chunk_no) AS chunks FROM chunk_vectors")
    assert (rows[0]["n"], rows[0]["chunks"]) == (16, 16)
    for n, job_id in enumerate(jobs):
        assert (await found(kit, job_id))[1] == np.array([1, n, 0, 0], np.float16).tobytes()


async def test_a_vector_without_a_key_is_only_not_found(kit: Kit) -> None:
    job_id = await ready(kit, ["a"])
    await embed(kit)
    await kit.run("UPDATE chunk_vectors SET key = NULL")  # what a worker of the version before writes
    assert await found(kit, await ready(kit, ["a"])) == [None]
    assert await kit.changes.read(await kit.numbers(job_id), kit.model_id) != ([], [])


async def test_vectors_of_before_the_migration_are_found(kit: Kit) -> None:
    first = await ready(kit, TEXTS)
    vectors = await embed(kit)
    bare = await ready(kit, ["no title"], context="")
    vectors += await embed(kit)
    await kit.run("ALTER TABLE chunk_vectors DROP COLUMN key")
    await kit.run("DROP FUNCTION vector_key, indexed_text")
    await kit.run("DELETE FROM schema_migrations WHERE version = 5")
    await migrate(kit.db)
    assert await found(kit, first) + await found(kit, bare) == vectors


@pytest.mark.parametrize("copies", [0, 3000], ids=["few", "all the same"])
async def test_a_look_reads_one_index_whatever_the_statistics_say(kit: Kit, copies: int) -> None:
    """A plan that reads the vectors of a model until it meets the text would read all of them when it is new."""
    job_id = await ready(kit, ["a", "b"])
    await embed(kit)
    if copies:
        await kit.run(
            "WITH c AS (INSERT INTO document_chunks (chunk_id, job_id, attempt, ordinal, page, start_char, end_char,"
            " tokens, context, text) SELECT gen_random_uuid(), job_id, 1, n, 1, 0, 1, 3, context, text"
            " FROM document_chunks, generate_series(2, %s) n WHERE ordinal = 0 RETURNING chunk_no)"
            " INSERT INTO chunk_vectors (model_id, chunk_no, vector, key)"
            " SELECT v.model_id, c.chunk_no, v.vector, v.key FROM c, chunk_vectors v WHERE v.chunk_no = %s",
            copies, (await kit.numbers(job_id))[0],
        )  # fmt: skip
    await kit.run("ANALYZE chunk_vectors, document_chunks, document_jobs")
    rows = await kit.rows("SELECT chunk_id FROM document_chunks WHERE ordinal < 2")
    values = {"chunks": [row["chunk_id"] for row in rows], "model": kit.model_id}
    async with kit.db.connection() as conn:
        plan = await (await conn.execute(b"EXPLAIN (ANALYZE) " + Statements("chunks")["texts"], values)).fetchall()
    text = "\n".join(row["QUERY PLAN"] for row in plan)
    assert "using chunk_vectors_key" in text and "Rows Removed by Filter" not in text, text
