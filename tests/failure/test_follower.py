"""The follower on a real PostgreSQL and a real index: whatever goes wrong, the index ends up holding the live chunks.

No workers run: ``World`` settles the messages of a document as they would.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datadistiller import errors, messages, model
from datadistiller.indexing.local import LocalIndex
from datadistiller.indexing.local_keywords import Keywords
from datadistiller.runtime import follower as follower_module
from datadistiller.runtime.follower import Follower
from datadistiller.store.changes import LOCK_KEY, Changes
from datadistiller.store.database import Database
from datadistiller.store.jobs import Jobs, NewJob
from datadistiller.store.messages import Limits, Messages
from datadistiller.store.models import Models
from datadistiller.store.signals import CHANGES, Notifier, Signals

DIM = 16
BOOT = UUID(int=1)


class World:
    """A database, an index folder, and what workers and followers do with them."""

    def __init__(self, db: Database, folder: Path, changes: type[Changes] = Changes) -> None:
        self.db, self.folder = db, folder
        self.jobs, self.messages, self.notifier = Jobs(db), Messages(db), Notifier(db)
        self.changes = changes(db)
        self.index = LocalIndex(folder, DIM, "test", hnsw_threshold=100)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Follower]:
        """A follower at work."""
        self.model_id = await Models(self.db).activate("test", DIM)
        signals, stop = Signals(self.db.url), asyncio.Event()
        async with AsyncExitStack() as stack:
            await signals.start()
            stack.push_async_callback(signals.close)
            follower = Follower(self.changes, self.index, signals, self.notifier, self.model_id, commit_ms=20)
            task = asyncio.create_task(follower.run(stop))
            try:
                yield follower
            finally:
                stop.set()
                await task

    async def reopen(self, lose: bool = False) -> None:
        """What a restart of the process does to the index, the loss of its disk included if asked for."""
        await self.index.close()
        if lose:
            shutil.rmtree(self.folder)
        self.index = LocalIndex(self.folder, DIM, "test", hnsw_threshold=100)

    async def upload(self, *texts: str) -> UUID:
        """A document whose chunks are these texts, read but not embedded."""
        job_id = uuid.uuid4()
        await self.jobs.accept(
            NewJob(
                job_id=job_id, filename="a.txt", collection="c", media_type="text/plain", file_size=1,
                sha256=job_id.hex, object_key=f"uploads/{job_id}/a.txt", lane=model.Lane.INTERACTIVE, metadata={},
            )
        )  # fmt: skip
        await self.read(job_id, *texts)
        return job_id

    async def read(self, job_id: UUID, *texts: str) -> None:
        """What an ingestion worker does with a new attempt."""
        page, chunks = "", []
        for ordinal, text in enumerate(texts):
            chunk_id = model.make_chunk_id(job_id, ordinal, text)
            chunks.append(model.Chunk(chunk_id, ordinal, 1, len(page), len(page) + len(text), text, "title", 3))
            page += text
        document = model.ParsedDocument([model.Page(1, page)], "title", "text", "text/plain")
        [delivery] = await self.messages.claim(messages.INGEST_TOPIC, 1, BOOT, 60)
        assert delivery.job_id == job_id
        await self.settle(messages.Done(delivery, messages.Ingested(document, chunks)))

    async def embed(self, limit: int = 1000) -> None:
        """What an embedding worker does with what waits, the given number of chunks at most."""
        claimed = await self.messages.claim(messages.CHUNK_TOPIC, limit, BOOT, 60)
        if claimed:
            await self.settle(*(messages.Done(each, messages.Embedded(vector(each.chunk_id))) for each in claimed))

    async def settle(self, *outcomes: messages.Outcome) -> None:
        await self.messages.settle(Limits(5, 5), outcomes, self.model_id)
        await self.notifier.notify(CHANGES)

    async def delete(self, job_id: UUID) -> None:
        await self.jobs.delete(job_id)
        await self.notifier.notify(CHANGES)

    async def status(self, job_id: UUID) -> str:
        return (await self.jobs.get(job_id)).status.value

    async def completed(self, *job_ids: UUID) -> None:
        """Waits until they are."""
        for job_id in job_ids:
            await until(lambda job_id=job_id: self._is(job_id, "completed"))  # type: ignore[misc]

    async def _is(self, job_id: UUID, status: str) -> bool:
        return await self.status(job_id) == status

    async def live(self) -> dict[int, UUID]:
        return (await self.changes.live(self.model_id)).chunks

    async def caught_up(self) -> None:
        """Waits until index and database agree."""

        async def agree() -> bool:
            return await self.index.contents() == await self.live()

        await until(agree)

    async def found(self, question: str) -> int:
        return len((await self.index.keyword_search(question, 1000)).numbers)


def vector(chunk_id: UUID | None) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    assert chunk_id is not None
    values = np.random.default_rng(chunk_id.int & 0xFFFFFFFF).standard_normal(DIM)
    return (values / np.linalg.norm(values)).astype(np.float16)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Waits for a condition; a lost connection is not the end of it."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(errors.Unavailable):
                if await condition():
                    return
            await asyncio.sleep(0.01)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    made = World(database, tmp_path / "index")
    yield made
    await made.index.close()


async def test_a_document_is_completed_once_it_can_be_found(world: World) -> None:
    async with world.following() as follower:
        job = await world.upload("apples and pears", "plums")
        await world.embed(1)
        await until(lambda: _finds(world, "apple plum", 1))
        assert await world.status(job) == "embedding"
        await world.embed()
        await world.completed(job)
        assert await world.found("apple") == 1 and await world.found("plum") == 1
        state = follower.state
        assert state.ready and state.error is None and state.entries == 2 and state.last_commit_age is not None
        await until(lambda: _lag(follower, 0))


async def _lag(follower: Follower, rows: int) -> bool:
    return follower.state.lag == rows


async def test_nothing_is_acknowledged_before_the_index_has_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the index cannot be written jobs wait in ``embedding``, and the state says why."""

    def full(_: Keywords) -> None:
        raise OSError(28, "No space left on device")  # a full disk cannot be had here

    async with world.following() as follower:
        await until(lambda: _ready(follower))
        monkeypatch.setattr(Keywords, "commit", full)
        job = await world.upload("apples")
        await world.embed()
        await until(lambda: _says(follower, "No space left"))
        assert await world.status(job) == "embedding"
        monkeypatch.undo()
        await world.completed(job)
        await until(lambda: _says(follower, ""))


async def _ready(follower: Follower) -> bool:
    return follower.state.ready


async def _says(follower: Follower, reason: str) -> bool:
    error = follower.state.error
    return error is None if not reason else reason in (error or "")


async def test_a_lost_index_is_filled_again_from_the_database(world: World) -> None:
    async with world.following():
        jobs = [await world.upload(*(f"word{n} text{m}" for m in range(20))) for n in range(15)]
        await world.embed()
        await world.completed(*jobs)
    await world.reopen(lose=True)
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
            await until(lambda: _finds(world, "pears", 0))
            assert await world.found("apples") == 1
        await until(lambda: _finds(world, "apples", 0))


async def _finds(world: World, word: str, count: int) -> bool:
    return await world.found(word) == count


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
        await until(lambda: _ready(follower))
        await hang_up(postgres_url, holder)
        job = await world.upload("apples")
        await world.embed()
        await world.completed(job)

        async def locked_again() -> bool:
            async with world.changes.lock() as lock:
                return not lock.held

        await until(locked_again)


async def test_a_second_follower_waits_and_takes_over(world: World, database: Database, tmp_path: Path) -> None:
    second = World(database, tmp_path / "second")
    async with AsyncExitStack() as stack:
        first = AsyncExitStack()
        await first.enter_async_context(world.following())
        job = await world.upload("apples")
        await world.embed()
        await world.completed(job)
        waiting = await stack.enter_async_context(second.following())
        await until(lambda: _says(waiting, "Another process follows"))
        assert not waiting.state.ready
        await first.aclose()
        await until(lambda: _says(waiting, ""))
        await until(lambda: _ready(waiting))
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
        await until(lambda: _finds(world, "pears", 0))
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
        await until(lambda: _lag(follower, 0))
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
    world = World(db, folder / "index", Shuffled)
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
