"""The follower on a real PostgreSQL and a real index: whatever goes wrong, the index ends up holding the live chunks.

No workers run: ``World`` settles the messages of a document as they would.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datadistiller import model
from datadistiller.indexing.local import LocalIndex
from datadistiller.indexing.local_keywords import Keywords
from datadistiller.runtime import follower as follower_module
from datadistiller.store.changes import LOCK_KEY, Changes
from datadistiller.store.database import Database
from datadistiller.store.signals import CHANGES
from tests.failure.world import DIM, World, finds, lags, ready, says, until


class LocalWorld(World):
    """A world whose index is in a folder."""

    def __init__(self, db: Database, folder: Path, changes: type[Changes] = Changes) -> None:
        self.folder = folder
        super().__init__(db, lambda: LocalIndex(folder, DIM, "test", hnsw_threshold=100), changes)

    async def lose(self) -> None:
        """A restart, after the loss of the index's disk."""
        await self.index.close()
        shutil.rmtree(self.folder)
        self.index = self.make_index()


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[LocalWorld]:
    made = LocalWorld(database, tmp_path / "index")
    yield made
    await made.index.close()


async def test_a_document_is_completed_once_it_can_be_found(world: World) -> None:
    async with world.following() as follower:
        job = await world.upload("apples and pears", "plums")
        await world.embed(1)
        await until(lambda: finds(world, "apple plum", 1))
        assert await world.status(job) == "embedding"
        await world.embed()
        await world.completed(job)
        assert await world.found("apple") == 1 and await world.found("plum") == 1
        state = follower.state
        assert state.ready and state.error is None and state.last_commit_age is not None
        assert await world.index.count() == 2
        await until(lambda: lags(follower, 0))


async def test_nothing_is_acknowledged_before_the_index_has_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the index cannot be written jobs wait in ``embedding``, and the state says why."""

    def full(_: Keywords) -> None:
        raise OSError(28, "No space left on device")  # a full disk cannot be had here

    async with world.following() as follower:
        await until(lambda: ready(follower))
        monkeypatch.setattr(Keywords, "commit", full)
        job = await world.upload("apples")
        await world.embed()
        await until(lambda: says(follower, "No space left"))
        assert await world.status(job) == "embedding"
        monkeypatch.undo()
        await world.completed(job)
        await until(lambda: says(follower, ""))


async def test_a_lost_index_is_filled_again_from_the_database(world: LocalWorld) -> None:
    async with world.following():
        jobs = [await world.upload(*(f"word{n} text{m}" for m in range(20))) for n in range(15)]
        await world.embed()
        await world.completed(*jobs)
    await world.lose()
    async with world.following():
        await world.caught_up()
        assert await world.found("word7") == 20
        assert [await world.status(job) for job in jobs] == ["completed"] * 15


async def test_what_changed_while_nobody_followed_is_noticed(world: World) -> None:
    """Removed, added, and added to the index but not acknowledged: what a kill between commit and ACK leaves."""
    async with world.following():
        gone, stays = await world.upload("apples"), await world.upload("pears", "grapes")
        await world.embed()
        await world.completed(gone, stays)
    await world.delete(gone)
    new = await world.upload("plums")
    await world.embed()
    entries, _ = await world.changes.read(list(await world.live()), world.model_id)
    await world.index.add(entries)
    await world.index.commit()
    await world.reopen()
    async with world.following():
        await world.completed(new)
        await world.caught_up()
        assert [await world.found(word) for word in ("apples", "pears", "plums")] == [0, 1, 1]


async def test_a_deleted_document_leaves_the_index(world: World) -> None:
    async with world.following():
        jobs = [await world.upload(f"apples {n}") for n in range(3)]
        await world.embed()
        await world.completed(*jobs)
        await world.delete(jobs[1])
        await world.caught_up()
        assert await world.found("apples") == 2


async def test_a_cancelled_document_leaves_and_comes_back_with_a_retry(world: World) -> None:
    async with world.following():
        job = await world.upload("apples", "pears")
        await world.embed(1)
        await world.caught_up()
        await world.jobs.cancel(job)
        await world.caught_up()
        assert await world.index.contents() == {}
        await world.jobs.retry(job)
        await world.read(job, "apples", "pears")
        await world.embed()
        await world.completed(job)
        await world.caught_up()
        assert await world.found("apples pears") == 2


async def test_a_transaction_left_open_holds_nothing_up(world: World, database_url: str) -> None:
    async with world.following(), await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("SELECT pg_current_xact_id()")  # it has begun before, and is seen as running
        jobs = []
        for n in range(5):
            jobs.append(await world.upload(f"apples {n}"))
            await world.embed()
        await world.completed(*jobs)
        await other.rollback()


async def test_a_row_that_commits_late_is_not_skipped(world: World, database_url: str) -> None:
    """The transaction of the older change commits after a younger one was followed."""
    async with world.following():
        old, young = await world.upload("apples"), await world.upload("pears")
        await world.embed()
        await world.completed(old, young)
        async with await psycopg.AsyncConnection.connect(database_url) as late:
            await late.execute("UPDATE document_jobs SET deleted_at = now() WHERE job_id = %s", (old,))
            await late.execute(
                "INSERT INTO chunk_changes (job_id, chunk_nos) SELECT job_id, array_agg(chunk_no)"
                " FROM document_chunks WHERE job_id = %s GROUP BY 1",
                (old,),
            )
            await world.delete(young)
            await until(lambda: finds(world, "pears", 0))
            assert await world.found("apples") == 1
        await until(lambda: finds(world, "apples", 0))


async def test_lost_connections_are_made_again(world: World, postgres_url: str) -> None:
    async with world.following():
        for n in range(6):
            job = await world.upload(f"apples {n}")
            await world.embed()
            await hang_up(postgres_url, "true")
            await world.completed(job)
        await world.caught_up()


async def hang_up(url: str, which: str) -> None:
    """Ends sessions of all databases but ours, as a restarted server or a proxy does."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"  # a constant of this file
            f" WHERE datname LIKE 'dd_test_%' AND pid <> pg_backend_pid() AND {which}".encode()
        )


async def test_a_lost_lock_is_taken_again(world: World, postgres_url: str) -> None:
    """Only the session that holds the lock ends; nothing else would show that it is gone."""
    holder = f"pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = {LOCK_KEY & 0xFFFFFFFF})"
    async with world.following() as follower:
        await until(lambda: ready(follower))
        await hang_up(postgres_url, holder)
        job = await world.upload("apples")
        await world.embed()
        await world.completed(job)

        async def locked_again() -> bool:
            async with world.changes.lock() as lock:
                return not lock.held

        await until(locked_again)


async def test_a_second_follower_waits_and_takes_over(world: World, database: Database, tmp_path: Path) -> None:
    second = LocalWorld(database, tmp_path / "second")
    async with AsyncExitStack() as stack:
        first = AsyncExitStack()
        await first.enter_async_context(world.following())
        job = await world.upload("apples")
        await world.embed()
        await world.completed(job)
        waiting = await stack.enter_async_context(second.following())
        await until(lambda: says(waiting, "Another process follows"))
        assert not waiting.state.ready
        await first.aclose()
        await until(lambda: says(waiting, ""))
        await until(lambda: ready(waiting))
        assert await second.found("apples") == 1
    await second.index.close()


async def test_a_database_restored_under_a_newer_index(world: World, database_url: str) -> None:
    """The old copy hands out the same chunk numbers again, to other chunks."""
    async with world.following():
        kept = await world.upload("apples", "pears")
        await world.embed()
        await world.completed(kept)
    copy = await dump(world.db)
    async with world.following():
        lost = await world.upload("plums", "figs", "dates")
        await world.embed()
        await world.completed(lost)
    before = await world.index.contents()
    await restore(world.db, copy)
    await world.reopen()
    async with world.following():
        other = await world.upload("cherries")
        await world.embed()
        await world.completed(other)
        await world.caught_up()
        assert [await world.found(word) for word in ("apples", "plums", "figs", "cherries")] == [1, 0, 0, 1]
        held = await world.index.contents()
        assert any(number in before and before[number] != chunk_id for number, chunk_id in held.items())


TABLES = ("models", "document_jobs", "document_pages", "document_chunks", "chunk_vectors")
Copy = dict[str, list[bytes]]


async def dump(db: Database) -> Copy:
    """What a backup holds, without the feed: its transaction numbers mean nothing elsewhere."""
    copy: Copy = {}
    async with db.connection() as conn:
        for table in TABLES:
            async with conn.cursor().copy(f"COPY {table} TO STDOUT".encode()) as out:
                copy[table] = [bytes(piece) async for piece in out]
    return copy


async def restore(db: Database, copy: Copy) -> None:
    """The backup in place of everything, its sequences as they were then."""
    async with db.connection() as conn:
        await conn.execute(f"TRUNCATE {', '.join(TABLES)}, messages, chunk_changes CASCADE".encode())
        for table in TABLES:
            async with conn.cursor().copy(f"COPY {table} FROM STDIN".encode()) as into:
                for piece in copy[table]:
                    await into.write(piece)
        for table, column in (("document_jobs", "job_no"), ("document_chunks", "chunk_no")):
            statement = f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table}"
            await conn.execute(statement.encode())


async def test_a_rebuild_replaces_everything_and_searches_go_on(world: World) -> None:
    async with world.following() as follower:
        job = await world.upload(*(f"apples number{n}" for n in range(300)))
        await world.embed()
        await world.completed(job)
        # Texts that the database does not hold: only reading everything again mends this.
        entries, _ = await world.changes.read(list(await world.live()), world.model_id)
        first = entries[0]
        wrong = type(first)(first.chunk_no, first.chunk_id, first.job_no, first.vector, "", "apples zebra")
        await world.index.add([wrong])
        await world.index.commit()
        follower.request_rebuild()
        while await world.found("zebra"):
            assert await world.found("apples") == 300
        await world.caught_up()
        assert await world.found("number0") == 1


async def test_a_vector_that_vanishes_is_just_removed(world: World) -> None:
    async with world.following():
        job = await world.upload("apples", "pears")
        await world.embed()
        await world.completed(job)
        async with world.db.connection() as conn:
            await conn.execute(
                "WITH gone AS (DELETE FROM chunk_vectors WHERE chunk_no ="
                " (SELECT max(chunk_no) FROM document_chunks) RETURNING chunk_no)"
                " INSERT INTO chunk_changes (job_id, chunk_nos) SELECT %s, array_agg(chunk_no) FROM gone",
                (job,),
            )
        await until(lambda: finds(world, "pears", 0))
        assert await world.found("apples") == 1


async def test_much_at_once_goes_through_in_small_groups(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "READ_CHUNKS", 3)
    monkeypatch.setattr(follower_module, "COMMIT_CHUNKS", 7)
    async with world.following():
        pass
    job = await world.upload(*(f"word{n}" for n in range(40)))
    await world.embed()
    async with world.following() as follower:
        await world.completed(job)
        await until(lambda: lags(follower, 0))
        await world.delete(job)
        await world.caught_up()
        assert await world.index.contents() == {}


class Shuffled(Changes):
    """A feed whose rows come in any order, late, split and repeated: it only says which chunks to read again."""

    dice = random.Random(0)
    late: list[int] = []  # noqa: RUF012  # of the one follower of a test

    async def since(self, position: str) -> tuple[list[int], str]:
        """Some of what is due, and some of what was given before."""
        numbers, position = await super().since(position)
        due = [*numbers, *self.late]
        self.dice.shuffle(due)
        cut = self.dice.randint(0, len(due))
        self.late[:] = due[cut:] + [n for n in due[:cut] if self.dice.random() < 0.3]
        return due[:cut], position


step = st.tuples(st.sampled_from(["upload", "embed", "delete", "cancel", "retry"]), st.integers(0, 5))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(step, min_size=3, max_size=12), seed=st.integers(0, 2**32))
def test_the_order_of_the_feed_does_not_matter(
    database_url: str, tmp_path_factory: pytest.TempPathFactory, script: list[tuple[str, int]], seed: int
) -> None:
    Shuffled.dice, Shuffled.late = random.Random(seed), []
    asyncio.run(follow_script(database_url, tmp_path_factory.mktemp("world"), script))


async def follow_script(url: str, folder: Path, script: list[tuple[str, int]]) -> None:
    db = Database(url, name="shuffled")
    await db.open()
    world = LocalWorld(db, folder / "index", Shuffled)
    jobs: list[UUID] = []
    async with world.following():
        for what, number in script:
            if what == "upload":
                jobs.append(await world.upload(*(f"word{n} apples" for n in range(number + 1))))
            elif what == "embed":
                await world.embed(number + 1)
            elif jobs:
                await change(world, what, jobs[number % len(jobs)])
        await world.embed()
        await world.caught_up()
        assert await world.found("apples") == len(await world.live())
    await world.index.close()
    await db.close()


async def change(world: World, what: str, job: UUID) -> None:
    """Does it if the job's state allows it."""
    found = await world.jobs.list(None, None, 1000, None)
    status = {each.job_id: each.status for each in found[0]}.get(job)
    if what == "delete" and status:
        await world.delete(job)
    elif what == "cancel" and status and not status.terminal:
        await world.jobs.cancel(job)
    elif what == "retry" and status in model.RETRYABLE:
        await world.jobs.retry(job)
        await world.read(job, "word1 apples", "pears apples")
    await world.notifier.notify(CHANGES)
