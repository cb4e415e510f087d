"""Messages: leases, the three fates, crashes counted apart from failures, and nothing settled twice."""

from __future__ import annotations

import asyncio
import dataclasses
from uuid import UUID, uuid4

import numpy as np
import pytest

from datadistiller import errors, model
from datadistiller.messages import (
    CHUNK_TOPIC,
    INGEST_TOPIC,
    REMOVE_TOPIC,
    Delivery,
    Done,
    Embedded,
    Failed,
    Ingested,
    Removed,
)
from datadistiller.store.messages import Limits
from tests.contracts.store_kit import ALL_LIMITS, LIMITS, Kit, embedded, failed, reading

TRANSIENT = errors.TransientError("The service hiccupped.")


async def chunks_of(kit: Kit, texts: list[str]) -> UUID:
    """A document whose chunks wait to be embedded."""
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, texts)
    return job_id


async def make_due(kit: Kit) -> None:
    """Lets all waiting be over."""
    await kit.run("UPDATE messages SET available_at = now() - interval '1 second'")


async def die(kit: Kit, boot: UUID) -> None:
    """A worker process ends without a word and its supervisor says so."""
    await kit.workers.remove(boot)
    await kit.messages.reap(8, ALL_LIMITS)


async def test_a_message_is_given_to_one_worker_only(kit: Kit) -> None:
    await chunks_of(kit, [f"text {n}" for n in range(40)])
    taken = await asyncio.gather(*(kit.claim(CHUNK_TOPIC, 7) for _ in range(8)))
    ids = [d.message_id for batch in taken for d in batch]
    assert len(ids) == len(set(ids)) == 40
    assert all(len(batch) <= 7 for batch in taken)
    assert await kit.claim(CHUNK_TOPIC) == []


async def test_interactive_work_overtakes_bulk(kit: Kit) -> None:
    bulk = await kit.accept(lane=model.Lane.BULK)
    urgent = await kit.accept()
    order = [(await kit.claim(INGEST_TOPIC, 1))[0].job_id for _ in range(2)]
    assert order == [urgent.job.job_id, bulk.job.job_id]


async def test_two_that_settle_the_last_two_chunks_at_once_finish_the_job(kit: Kit) -> None:
    # Both by ACK and by dead letter; each pair commits at the same time, again and again.
    for round_ in range(12):
        position = await kit.position()
        job_id = await chunks_of(kit, [f"{round_} a", f"{round_} b", f"{round_} c"])
        first, second, third = await kit.claim(CHUNK_TOPIC)
        await kit.settle(Done(third, embedded()))
        await kit.follow(position)
        if round_ % 2:
            await asyncio.gather(
                kit.settle(*failed([first], errors.BrokenInvariant("x"))),
                kit.settle(*failed([second], errors.BrokenInvariant("x"))),
            )
        else:
            await asyncio.gather(kit.settle(Done(first, embedded())), kit.settle(Done(second, embedded())))
            last = await kit.numbers(job_id)
            await asyncio.gather(kit.changes.acknowledge(last[:1]), kit.changes.acknowledge(last[1:2]))
        job = await kit.jobs.get(job_id)
        assert job.status == (model.Status.PARTIAL if round_ % 2 else model.Status.COMPLETED)
        assert (job.processed_chunks, job.progress) == (3, 100)


async def test_the_same_result_twice_is_stored_once(kit: Kit) -> None:
    await chunks_of(kit, ["a"])
    (delivery,) = await kit.claim(CHUNK_TOPIC)
    answers = await asyncio.gather(*(kit.settle(Done(delivery, embedded())) for _ in range(4)))
    assert sorted(len(a.refused) for a in answers) == [0, 1, 1, 1]
    assert len(await kit.rows("SELECT 1 FROM chunk_vectors")) == 1
    assert [a.changed for a in answers if not a.refused] == [True]


async def test_a_stale_token_is_refused_and_the_rest_of_the_batch_settles(kit: Kit) -> None:
    job_id = await chunks_of(kit, ["a", "b", "c", "d"])
    batch = await kit.claim(CHUNK_TOPIC)
    stale = dataclasses.replace(batch[0], token=uuid4())
    outcomes = [Done(stale, embedded()), Done(batch[1], embedded()), Failed(batch[2], TRANSIENT)]
    outcomes.append(Failed(dataclasses.replace(batch[3], token=uuid4()), errors.BrokenInvariant("x")))
    settled = await kit.settle(*outcomes)
    assert settled.refused == [stale.message_id, batch[3].message_id]
    assert len(await kit.rows("SELECT 1 FROM chunk_vectors")) == 1
    rows = await kit.rows("SELECT id, tries, lease_token IS NULL AS free FROM messages ORDER BY id")
    assert [(r["id"], r["tries"], r["free"]) for r in rows] == [
        (batch[0].message_id, 0, False), (batch[2].message_id, 1, True), (batch[3].message_id, 0, False)
    ]  # fmt: skip
    assert (await kit.jobs.get(job_id)).status == model.Status.EMBEDDING


async def test_a_lease_that_expired_is_refused_and_the_next_holder_succeeds(kit: Kit) -> None:
    await chunks_of(kit, ["a"])
    (slow,) = await kit.claim(CHUNK_TOPIC, seconds=0)
    assert await kit.messages.reap(8, ALL_LIMITS) == 1
    (fast,) = await kit.claim(CHUNK_TOPIC)
    assert (fast.message_id, fast.crashes, fast.tries) == (slow.message_id, 1, 0)
    assert (await kit.settle(Done(slow, embedded()))).refused == [slow.message_id]
    assert await kit.messages.held(kit.boot, [slow.message_id]) == {slow.message_id}
    assert (await kit.settle(Done(fast, embedded()))).refused == []


@pytest.mark.parametrize("change", ["status = 'cancelled'", "deleted_at = now()", "attempt = attempt + 1"])
async def test_settling_waits_for_a_change_of_the_job_and_then_obeys_it(kit: Kit, change: str) -> None:
    job_id = await chunks_of(kit, ["a", "b"])
    done, failing = await kit.claim(CHUNK_TOPIC)
    async with kit.db.transaction() as conn:
        # The messages stay, so that only the job's row can tell.
        await conn.execute(f"UPDATE document_jobs SET {change} WHERE job_id = %s".encode(), (job_id,))
        settling = asyncio.create_task(kit.settle(Done(done, embedded()), Failed(failing, TRANSIENT)))
        while not await kit.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            assert not settling.done()
    assert (await settling).refused == [done.message_id, failing.message_id]
    assert await kit.rows("SELECT 1 FROM chunk_vectors") == []
    assert (await kit.rows("SELECT max(tries) AS n FROM messages"))[0]["n"] == 0


async def test_a_transient_failure_comes_back_later_and_dies_after_the_last_try(kit: Kit) -> None:
    job_id = await chunks_of(kit, ["a"])
    for tries in range(LIMITS.tries):
        (delivery,) = await kit.claim(CHUNK_TOPIC)
        assert delivery.tries == tries
        assert (await kit.settle(Failed(delivery, TRANSIENT))).refused == []
        assert await kit.claim(CHUNK_TOPIC) == [], "not due yet, or dead"
        await make_due(kit)
    job = await kit.jobs.get(job_id)
    assert (job.status, job.failed_chunks, job.searchable) == (model.Status.FAILED, 1, False)
    assert job.error is not None and job.error.code == "chunks_failed"
    (letter,) = await kit.letters.list()
    assert (letter.tries, letter.crashes, letter.error.code) == (3, 0, "transient_error")
    assert [entry["what"] for entry in letter.history] == ["transient_error"] * 3


async def test_a_permanent_failure_of_a_reading_fails_its_job_with_the_reason(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    (delivery,) = await kit.claim(INGEST_TOPIC)
    try:
        raise errors.EncryptedDocument("'report.txt' is protected by a password.")
    except errors.EncryptedDocument as error:
        settled = await kit.settle(Failed(delivery, error))
    assert settled.jobs == [job_id]
    job = await kit.jobs.get(job_id)
    assert (job.status, job.progress) == (model.Status.FAILED, 100)
    assert job.error is not None and (job.error.code, job.error.hint[:6]) == ("encrypted", "Remove")
    (letter,) = await kit.letters.list()
    assert letter.error_type == "EncryptedDocument"
    assert letter.frames[-1].endswith("test_a_permanent_failure_of_a_reading_fails_its_job_with_the_reason")


async def test_a_reading_without_a_chunk_is_no_text(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, [])
    job = await kit.jobs.get(job_id)
    assert job.status == model.Status.FAILED and job.error is not None and job.error.code == "no_text"


async def test_lack_of_capacity_is_waited_for_uncharged_until_it_is_too_old(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    for error in (errors.CapacityError("Full.", retry_after=1e9), errors.Unavailable(), errors.Overloaded()):
        (delivery,) = await kit.claim(INGEST_TOPIC)
        assert (delivery.tries, delivery.crashes) == (0, 0)
        await kit.settle(Failed(delivery, error))
        assert await kit.claim(INGEST_TOPIC) == []
        assert await kit.rows("SELECT 1 FROM messages WHERE available_at > now() + interval '11 minutes'") == []
        await make_due(kit)
    (row,) = await kit.rows("SELECT history, parked_since IS NOT NULL AS parked FROM messages")
    assert row["parked"] and len(row["history"]) == 1, "waiting does not grow the record"
    await kit.run("UPDATE messages SET parked_since = now() - interval '2 hours'")
    (delivery,) = await kit.claim(INGEST_TOPIC)
    await kit.settle(Failed(delivery, errors.CapacityError("The disk is full.")))
    job = await kit.jobs.get(job_id)
    assert job.status == model.Status.FAILED and job.error is not None and job.error.code == "capacity"


async def test_a_lost_lease_and_a_drain_cost_nothing(kit: Kit) -> None:
    await chunks_of(kit, ["a", "b"])
    batch = await kit.claim(CHUNK_TOPIC)
    await kit.settle(Failed(batch[0], errors.LeaseLost()))
    await kit.messages.release(batch[1:])
    again = await kit.claim(CHUNK_TOPIC)
    assert [(d.message_id, d.tries, d.crashes) for d in again] == [(d.message_id, 0, 0) for d in batch]
    await kit.messages.release(batch)  # stale tokens: nothing happens
    assert await kit.messages.held(kit.boot, [d.message_id for d in batch]) == {d.message_id for d in batch}


async def test_what_a_process_holds_without_knowing_is_abandoned(kit: Kit) -> None:
    await chunks_of(kit, ["a", "b"])
    known, lost = await kit.claim(CHUNK_TOPIC)
    await kit.messages.abandon(CHUNK_TOPIC, kit.boot, [known.token])
    assert [(d.message_id, d.crashes) for d in await kit.claim(CHUNK_TOPIC)] == [(lost.message_id, 0)]


async def test_poison_is_found_and_innocents_are_not_charged(kit: Kit) -> None:
    job_id = await chunks_of(kit, [f"text {n}" for n in range(5)])
    (first, *_) = await kit.claim(CHUNK_TOPIC, 1)
    await kit.messages.release([first])
    poison = first.chunk_id
    seen: list[int] = []
    for _ in range(40):
        boot = uuid4()
        await kit.workers.register(boot, "w", "embed", 2)
        batch = await kit.claim(CHUNK_TOPIC, 5, boot)
        if not batch:
            break
        if any(d.crashes for d in batch):
            assert len(batch) == 1, "a suspect is given out alone"
        seen.append(len(batch))
        if poison in [d.chunk_id for d in batch]:
            await die(kit, boot)
        else:
            assert (await kit.settle(*[Done(d, embedded()) for d in batch])).refused == []
    assert seen[0] == 5 and set(seen[1:]) == {1}
    (letter,) = await kit.letters.list()
    assert (letter.chunk_id, letter.crashes, letter.tries) == (poison, LIMITS.solo_crashes + 1, 0)
    assert letter.error.code == "worker_crashed"
    assert len(await kit.rows("SELECT 1 FROM chunk_vectors")) == 4
    await kit.changes.acknowledge(await kit.numbers(job_id))
    job = await kit.jobs.get(job_id)
    assert (job.status, job.failed_chunks) == (model.Status.PARTIAL, 1)


async def test_a_suspect_waits_its_turn_but_not_behind_all_that_comes(kit: Kit) -> None:
    await chunks_of(kit, ["suspect"])
    await kit.claim(CHUNK_TOPIC, 1, seconds=0)
    await kit.messages.reap(8, ALL_LIMITS)
    await chunks_of(kit, [f"later {n}" for n in range(40)])
    (alone,) = await kit.claim(CHUNK_TOPIC, 8)
    assert alone.crashes == 1


async def test_reaping_finds_the_gone_and_the_silent_and_spares_the_living(kit: Kit) -> None:
    await chunks_of(kit, ["a", "b", "c"])
    gone, silent = uuid4(), uuid4()
    await kit.workers.register(silent, "silent", "embed", 3)
    await kit.claim(CHUNK_TOPIC, 1, gone)
    await kit.claim(CHUNK_TOPIC, 1, silent)
    living = await kit.claim(CHUNK_TOPIC, 1)
    assert await kit.messages.reap(3600, ALL_LIMITS) == 1, "the one that never registered"
    await kit.run("UPDATE workers SET seen_at = now() - interval '9 seconds' WHERE boot = %s", silent)
    # Nobody could beat while the server was away: it must itself be up for as long.
    uptime = (await kit.rows("SELECT extract(epoch FROM now() - pg_postmaster_start_time())::float8 AS s"))[0]["s"]
    timeout = min(8.0, uptime / 2)
    assert await kit.messages.reap(timeout, ALL_LIMITS) == 1
    assert await kit.messages.held(kit.boot, [living[0].message_id]) == {living[0].message_id}


async def test_silence_right_after_the_servers_start_is_forgiven(kit: Kit) -> None:
    await chunks_of(kit, ["a"])
    await kit.claim(CHUNK_TOPIC)
    await kit.run("UPDATE workers SET seen_at = now() - interval '100 days'")
    assert await kit.messages.reap(86400 * 50, ALL_LIMITS) == 0


async def test_a_clock_set_back_delays_nothing(kit: Kit) -> None:
    # As if an hour's work had been written before the clock went back by a day.
    job_id = await chunks_of(kit, ["a", "b"])
    await kit.run("UPDATE messages SET available_at = now() + interval '1 day', created_at = now() + interval '1 day'")
    await kit.run("UPDATE workers SET seen_at = now() + interval '1 day'")
    assert await kit.claim(CHUNK_TOPIC) == []
    await kit.messages.reap(8, ALL_LIMITS)
    assert len(await kit.claim(CHUNK_TOPIC)) == 2
    assert await kit.rows("SELECT 1 FROM workers WHERE seen_at > now()") == []
    assert [d.oldest_age_seconds >= 0 for d in await kit.messages.depths()] == [True]
    assert (await kit.jobs.get(job_id)).status == model.Status.EMBEDDING


async def test_a_reading_that_cannot_be_stored_settles_nothing_and_says_so(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    (delivery,) = await kit.claim(INGEST_TOPIC)
    for text in ("nul \0 inside", "half \ud800"):
        bad = reading(job_id, ["good"])
        page = dataclasses.replace(bad.document.pages[0], text=text)
        document = dataclasses.replace(bad.document, pages=[page])
        with pytest.raises(errors.BrokenInvariant) as caught:
            await kit.settle(Done(delivery, Ingested(document, bad.chunks)))
        assert "inside" not in caught.value.message
    assert await kit.rows("SELECT 1 FROM document_chunks") == []
    assert (await kit.settle(Failed(delivery, caught.value))).refused == []
    assert (await kit.jobs.get(job_id)).status == model.Status.FAILED


@pytest.mark.parametrize(
    "vector",
    [np.ones(3, np.float16), np.ones(4, np.float32), np.full(4, np.nan, np.float16), np.ones((2, 2), np.float16)],
    ids=["length", "type", "nan", "shape"],
)
async def test_a_vector_that_is_none_settles_nothing_and_says_so(kit: Kit, vector: np.ndarray) -> None:
    await chunks_of(kit, ["a", "b"])
    good, bad = await kit.claim(CHUNK_TOPIC)
    with pytest.raises(errors.BrokenInvariant):
        await kit.settle(Done(good, embedded()), Done(bad, Embedded(vector)))
    assert (await kit.settle(Done(good, embedded()))).refused == []
    with pytest.raises(errors.BrokenInvariant, match="model"):
        await kit.messages.settle(LIMITS, [Done(bad, embedded())])


async def test_a_large_document_is_stored_in_portions(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, [f"{n} " + "word " * 20 for n in range(2300)])
    assert (await kit.rows("SELECT count(*) AS n FROM document_chunks"))[0]["n"] == 2300
    assert (await kit.rows("SELECT count(*) AS n FROM document_pages"))[0]["n"] == 2300
    assert (await kit.rows("SELECT count(DISTINCT chunk_id) AS n FROM messages"))[0]["n"] == 2300


async def test_depths_tell_due_leased_delayed_and_dead(kit: Kit) -> None:
    await chunks_of(kit, ["a", "b", "c", "d"])
    leased, failing, dead = (await kit.claim(CHUNK_TOPIC, 3))[:3]
    await kit.settle(Failed(failing, TRANSIENT), Failed(dead, errors.BrokenInvariant("x")))
    await kit.accept()
    depths = {d.topic: d for d in await kit.messages.depths()}
    found = depths[CHUNK_TOPIC]
    assert (found.due, found.leased, found.delayed, found.dead) == (1, 1, 1, 1)
    assert (depths[INGEST_TOPIC].due, depths[INGEST_TOPIC].dead) == (1, 0)
    assert leased.message_id


async def test_claims_and_cancels_at_once_do_not_deadlock(kit: Kit) -> None:
    jobs = [(await kit.accept()).job.job_id for _ in range(12)]

    async def work() -> list[Delivery]:
        got: list[Delivery] = []
        for _ in range(12):
            batch = await kit.claim(INGEST_TOPIC, 2)
            got += batch
            await kit.messages.release(batch[:1])
            await kit.settle(*[Done(d, reading(d.job_id, ["x", "y"])) for d in batch[1:]])
            await kit.messages.release(await kit.claim(CHUNK_TOPIC, 3))
        return got

    async def cancel() -> None:
        for job_id in jobs:
            await kit.jobs.cancel(job_id)

    async def reap() -> None:
        for _ in range(12):
            await kit.messages.reap(0.0, ALL_LIMITS)

    await asyncio.gather(work(), work(), cancel(), reap())
    assert [(await kit.jobs.get(job_id)).status for job_id in jobs] == [model.Status.CANCELLED] * 12
    assert await kit.rows("SELECT 1 FROM messages") == []


async def test_a_removal_that_died_is_put_back_not_discarded(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    await kit.jobs.delete(job_id)
    (removal,) = await kit.claim(REMOVE_TOPIC)
    await kit.messages.settle(Limits(tries=1, solo_crashes=1), [Failed(removal, TRANSIENT)])
    (letter,) = await kit.letters.list()
    with pytest.raises(errors.Conflict):
        await kit.letters.discard(letter.dead_id)
    await kit.letters.replay(letter.dead_id)
    (again,) = await kit.claim(REMOVE_TOPIC)
    assert (await kit.settle(Done(again, Removed()))).refused == []
    assert await kit.letters.list() == []
