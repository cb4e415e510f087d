"""Each rule that must hold within the database, broken on purpose; and a database in which all of them hold."""

from __future__ import annotations

import pytest

from datadistiller import errors
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC, REMOVE_TOPIC, Done, Removed
from datadistiller.store.audit import RULES, Audit
from tests.contracts.store_kit import Kit, failed

BREAKS = {
    "unread_without_message": "DELETE FROM messages WHERE topic = 'doc-ingest-requests'",
    "chunks_without_message": "DELETE FROM messages WHERE topic = 'chunk-processing'",
    "forgotten_by_follower": "DELETE FROM chunk_changes",
    "unpurged_without_message": "DELETE FROM messages WHERE topic = 'doc-removals'",
    "purged_leftovers": "UPDATE document_jobs SET purged_at = now() WHERE deleted_at IS NOT NULL",
    "wrong_counts": "UPDATE document_chunks SET status = 'pending' WHERE status = 'indexed' AND ordinal = 0",
    "without_reason": "UPDATE document_jobs SET error = NULL WHERE status = 'failed'",
    "doubled_chunks": "UPDATE document_chunks SET ordinal = 0 WHERE ordinal = 1 AND status = 'indexed'",
    "leftover_versions": "WITH p AS (INSERT INTO document_pages (job_id, version, page, label, text)"
    " SELECT p.job_id, 2, p.page, p.label, p.text FROM document_pages p JOIN document_jobs j USING (job_id)"
    " WHERE j.status = 'completed' RETURNING job_id) INSERT INTO document_chunks (chunk_id, job_id, version, attempt,"
    " ordinal, page, start_char, end_char, tokens, context, text) SELECT gen_random_uuid(), job_id, 2, attempt,"
    " ordinal, page, start_char, end_char, tokens, context, text FROM document_chunks"
    " WHERE job_id IN (SELECT job_id FROM p)",
    "untrue_citations": "UPDATE document_chunks SET start_char = 1 WHERE status = 'indexed' AND ordinal = 0",
    "indexed_without_vector": "DELETE FROM chunk_vectors v USING document_chunks c WHERE c.chunk_no = v.chunk_no"
    " AND c.status = 'indexed'",
}


@pytest.fixture
async def audit(kit: Kit) -> Audit:
    """A database with a document in every state there is."""
    await kit.searchable(["one", "two", "three"])
    for fate in ("purged", "deleted"):
        job = await kit.searchable(["gone"], content=fate)
        await kit.jobs.delete(job.job_id)
        if fate == "purged":
            await kit.settle(*[Done(delivery, Removed()) for delivery in await kit.claim(REMOVE_TOPIC)])
    await failing(kit)
    await kit.jobs.cancel((await kit.accept("cancelled")).job.job_id)
    embedding = (await kit.accept("embedding")).job.job_id
    await kit.ingest(embedding, ["a", "b"])
    await kit.embed(1)
    waiting = (await kit.accept("waits for the index")).job.job_id
    await kit.ingest(waiting, ["c"])
    await kit.embed()
    await kit.ingest((await kit.accept("embedding too")).job.job_id, ["d", "e"])
    await kit.accept("pending")
    return Audit(kit.db)


async def failing(kit: Kit) -> None:
    """A document that nobody could read, and one of which a chunk could not be embedded."""
    await kit.accept("unreadable")
    await kit.settle(*failed(await kit.claim(INGEST_TOPIC), errors.NoText()))
    position = await kit.position()
    await kit.ingest((await kit.accept("half")).job.job_id, ["good", "bad"], broken_pages=1)
    bad, *_ = await kit.claim(CHUNK_TOPIC, 1)
    await kit.settle(*failed([bad], errors.BrokenInvariant("It cannot be embedded.")))
    await kit.embed()
    await kit.follow(position)


async def test_nothing_is_wrong_with_documents_in_any_state(audit: Audit, kit: Kit) -> None:
    rows = await kit.rows("SELECT DISTINCT status FROM document_jobs")
    assert {row["status"] for row in rows} == {"pending", "embedding", "completed", "partial", "failed", "cancelled"}
    assert await audit.broken() == []


def test_every_rule_is_broken_here() -> None:
    assert set(BREAKS) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
async def test_what_is_broken_is_found_and_named(audit: Audit, kit: Kit, rule: str) -> None:
    await kit.run(BREAKS[rule])
    [found] = [broken for broken in await audit.broken() if broken.rule == rule]
    assert found.total >= 1 and len(found.examples) == min(5, found.total)
    assert RULES[rule].format(n=found.total).startswith(f"{found.total} ")
    others = {broken.rule for broken in await audit.broken()} - {rule}
    assert others <= {"forgotten_by_follower"}, "one fault, one finding"


async def test_the_session_is_as_it_was_afterwards(audit: Audit, kit: Kit) -> None:
    await audit.broken()
    async with audit.listing() as listing:
        await listing.add([])
    rows = await kit.rows("SELECT current_setting('statement_timeout') AS t, current_setting('enable_seqscan') AS s")
    assert [(row["t"], row["s"]) for row in rows] == [("1min", "off")]
    assert await kit.rows("SELECT 1 FROM pg_class WHERE relname = 'listed_objects'") == []
