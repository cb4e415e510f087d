"""The change feed: each change once, whatever commits late; and the acknowledgement that completes jobs."""

from __future__ import annotations

import asyncio
import random
from uuid import uuid4

import psycopg
import pytest

from datadistiller import errors, model
from datadistiller.messages import CHUNK_TOPIC, Done, Failed
from datadistiller.store.changes import Changes
from tests.contracts.store_kit import Kit, embedded

INSERT = b"INSERT INTO chunk_changes (job_id, chunk_nos) VALUES (%s, %s)"


async def read_all(changes: Changes, position: str) -> tuple[list[int], str]:
    """Everything up to the end, as a follower reads it."""
    found: list[int] = []
    while True:
        numbers, position = await changes.since(position)
        if not numbers:
            return found, position
        found += numbers


@pytest.mark.parametrize("seed", range(6))
async def test_each_change_is_read_once_whatever_commits_late(kit: Kit, database_url: str, seed: int) -> None:
    chance = random.Random(seed)
    job = uuid4()
    position = await kit.position()
    open_: list[tuple[psycopg.AsyncConnection, list[int]]] = []
    idle: list[psycopg.AsyncConnection] = []
    seen: list[int] = []
    committed: set[int] = set()
    number = 0
    try:
        for _ in range(120):
            step = chance.random()
            if step < 0.35 and len(open_) < 6:
                conn = idle.pop() if idle else await psycopg.AsyncConnection.connect(database_url)
                await conn.execute("SELECT 1")  # begins
                open_.append((conn, []))
            elif step < 0.65 and open_:
                # Some in a savepoint: subtransactions have numbers of their own.
                conn, mine = chance.choice(open_)
                number += 1
                async with conn.transaction():
                    await conn.execute(INSERT, (job, [number]))
                mine.append(number)
            elif step < 0.85 and open_:
                conn, mine = open_.pop(chance.randrange(len(open_)))
                if chance.random() < 0.8:
                    await conn.commit()
                    committed |= set(mine)
                else:
                    await conn.rollback()
                idle.append(conn)
            else:
                numbers, position = await kit.changes.since(position)
                seen += numbers
                assert set(seen) == committed, "what is committed is read at once, though others are open"
                if chance.random() < 0.3:
                    await kit.changes.trim(position)
        for conn, mine in open_:
            await conn.commit()
            committed |= set(mine)
        seen += (await read_all(kit.changes, position))[0]
    finally:
        for conn in [*idle, *(conn for conn, _ in open_)]:
            await conn.close()
    assert sorted(seen) == sorted(committed)
    assert len(seen) == len(set(seen))


async def test_an_open_transaction_stalls_nobody(kit: Kit, database_url: str) -> None:
    position = await kit.position()
    async with await psycopg.AsyncConnection.connect(database_url) as conn:
        await conn.execute(INSERT, (uuid4(), [999]))
        job = await kit.searchable(["x"])
        assert job.status == model.Status.COMPLETED
        numbers, position = await read_all(kit.changes, position)
        assert numbers == await kit.numbers(job.job_id)
        await kit.changes.trim(position)
        await conn.commit()
    assert (await read_all(kit.changes, position))[0] == [999]


async def test_many_writers_at_once_lose_nothing(kit: Kit, database_url: str) -> None:
    position = await kit.position()
    stop = asyncio.Event()
    seen: list[int] = []

    async def write(base: int) -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as conn:
            for n in range(40):
                await conn.execute(INSERT, (uuid4(), [base + n]))
                await asyncio.sleep(0)
                await conn.commit()

    async def follow() -> None:
        nonlocal position
        while not stop.is_set():
            numbers, position = await kit.changes.since(position)
            seen.extend(numbers)

    reader = asyncio.create_task(follow())
    await asyncio.gather(*(write(1000 * n) for n in range(5)))
    stop.set()
    await reader
    seen += (await read_all(kit.changes, position))[0]
    assert sorted(seen) == sorted(1000 * b + n for b in range(5) for n in range(40))


async def test_a_long_feed_comes_in_bounded_pages(kit: Kit) -> None:
    position = await kit.position()
    # Three transactions, so that a page ends within one as well as between two.
    for base in (0, 100, 500):
        await kit.run(
            "INSERT INTO chunk_changes (job_id, chunk_nos)"
            f" SELECT gen_random_uuid(), ARRAY[{base} + n] FROM generate_series(1, 300) n"
        )
    assert (await kit.changes.lag(position))[0] == 900
    numbers, between = await kit.changes.since(position)
    assert 0 < len(numbers) < 900
    assert (await kit.changes.lag(between))[0] == 900 - 256
    await kit.changes.trim(between)  # nothing that is not read yet
    rest, end = await read_all(kit.changes, between)
    assert sorted(set(numbers + rest)) == [*range(1, 401), *range(501, 801)]
    assert (await kit.changes.since(end))[0] == []
    await kit.changes.trim(end)
    assert await kit.rows("SELECT 1 FROM chunk_changes") == []
    assert await kit.changes.lag(end) == (0, 0.0)


async def test_what_is_live_and_where_the_feed_goes_on_fit_together(kit: Kit) -> None:
    done = await kit.searchable(["a", "b"])
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["c", "d"])
    await kit.embed(1)
    position = await kit.position()
    live = await kit.changes.live(kit.model_id)
    half = (await kit.numbers(job_id))[0]
    assert set(live.chunks) == {*await kit.numbers(done.job_id), half}
    assert live.pending == {half}
    assert (await kit.changes.since(position))[0] == []
    await kit.jobs.delete(done.job_id)
    assert set((await kit.changes.live(kit.model_id)).chunks) == {half}
    assert (await kit.changes.since(position))[0] == await kit.numbers(done.job_id)
    assert await kit.inspection.live_chunks() == 1


async def test_an_entry_holds_what_the_index_needs(kit: Kit) -> None:
    job = await kit.searchable(["alpha"])
    (number,) = await kit.numbers(job.job_id)
    (entry,), gone = await kit.changes.read([number, number + 1000], kit.model_id)
    assert gone == [number + 1000]
    assert (entry.chunk_no, entry.context, entry.text) == (number, "Title", "alpha")
    assert entry.vector.dtype == "float16" and entry.vector.tolist() == embedded(0).vector.tolist()
    assert (await kit.changes.read([number], kit.model_id + 1)) == ([], [number])


async def test_an_acknowledgement_needs_a_vector_and_a_job_that_embeds(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["a", "b"])
    numbers = await kit.numbers(job_id)
    assert await kit.changes.acknowledge(numbers) == [], "nothing is embedded yet"
    await kit.embed()
    assert await kit.changes.acknowledge([*numbers[:1], 10**9]) == [job_id]
    assert await kit.changes.acknowledge(numbers[:1]) == [], "twice counts once"
    job = await kit.jobs.get(job_id)
    assert (job.processed_chunks, job.progress, job.status) == (1, 64, model.Status.EMBEDDING)
    await kit.jobs.cancel(job_id)
    assert await kit.changes.acknowledge(numbers[1:]) == []
    assert (await kit.jobs.get(job_id)).status == model.Status.CANCELLED


async def test_an_acknowledgement_waits_for_a_cancellation_and_then_obeys_it(kit: Kit) -> None:
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["a"])
    await kit.embed()
    async with kit.db.transaction() as conn:
        await conn.execute("UPDATE document_jobs SET status = 'cancelled' WHERE job_id = %s", (job_id,))
        marking = asyncio.create_task(kit.changes.acknowledge(await kit.numbers(job_id)))
        while not await kit.rows("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            assert not marking.done()
    assert await marking == []
    assert await kit.rows("SELECT status FROM document_chunks") == [{"status": "pending"}]


async def test_a_document_is_found_whole_or_not_at_all(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["a", "b"])
    await kit.embed(1)
    position = await kit.follow(position)
    assert await kit.rows("SELECT 1 FROM document_chunks WHERE status = 'indexed'") != []
    assert await kit.chunks.passages(await kit.numbers(job_id)) == []
    assert await kit.chunks.allowed_jobs("default", None) is not None
    await kit.embed(1)
    await kit.follow(position)
    assert len(await kit.chunks.passages(await kit.numbers(job_id))) == 2


async def test_a_large_acknowledgement_is_done_in_portions(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, [f"text {n}" for n in range(4500)])
    while await kit.embed(1500):
        pass
    numbers, _ = await read_all(kit.changes, position)
    assert sorted(numbers) == await kit.numbers(job_id)
    assert await kit.changes.acknowledge(numbers) == [job_id]
    assert (await kit.jobs.get(job_id)).status == model.Status.COMPLETED


async def test_a_failed_chunk_and_acknowledged_ones_make_a_partial_document(kit: Kit) -> None:
    position = await kit.position()
    job_id = (await kit.accept()).job.job_id
    await kit.ingest(job_id, ["a", "b"])
    good, bad = await kit.claim(CHUNK_TOPIC)
    await kit.settle(Done(good, embedded()))
    await kit.follow(position)
    assert (await kit.jobs.get(job_id)).status == model.Status.EMBEDDING
    settled = await kit.settle(Failed(bad, errors.BrokenInvariant("x")))
    assert settled.jobs == [job_id]
    job = await kit.jobs.get(job_id)
    assert (job.status, job.searchable, job.failed_chunks) == (model.Status.PARTIAL, True, 1)
    assert len(await kit.chunks.passages(await kit.numbers(job_id))) == 1


async def test_there_is_one_follower(kit: Kit) -> None:
    async with kit.changes.lock() as first:
        assert first.held
        await first.check()
        async with Changes(kit.db).lock() as second:
            assert not second.held
    async with kit.changes.lock() as third:
        assert third.held
    with pytest.raises(errors.Unavailable):
        async with kit.changes.lock() as lost:
            await kit.run("SELECT pg_terminate_backend(%s::int)", lost.session.info.backend_pid)
            await lost.check()
    async with kit.changes.lock() as again:
        assert again.held


@pytest.mark.parametrize("state", ["due", "leased", "delayed", "read"])
async def test_whether_vectors_are_to_come(kit: Kit, state: str) -> None:
    job = (await kit.accept()).job.job_id
    assert not await kit.changes.more_to_come(), "a document that is not read may take long"
    await kit.ingest(job, ["a"])
    if state == "leased":
        await kit.claim(CHUNK_TOPIC)
    elif state == "delayed":
        await kit.run("UPDATE messages SET available_at = now() + interval '1 minute'")
    elif state == "read":
        await kit.embed()
    assert await kit.changes.more_to_come() == (state in ("due", "leased"))
