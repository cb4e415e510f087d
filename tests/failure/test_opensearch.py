"""The follower on OpenSearch, whatever happens to that: nothing lost, nothing acknowledged that is not found, and no
question answered from a part of the index.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from datadistiller import errors
from datadistiller.runtime import follower as follower_module
from datadistiller.runtime.follower import Follower
from datadistiller.runtime.index_status import OutsideStatus, Reporter
from datadistiller.store.changes import Changes
from datadistiller.store.database import Database
from datadistiller.store.followers import Followers
from tests import services
from tests.contracts.opensearch_kit import bring_shard, lose_shard
from tests.failure.opensearch_world import ClusterWorld, finds, written
from tests.failure.world import ready, says, until
from tools.services.opensearch import OpenSearchServer

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)

ADMISSION = {
    "admission_control.transport.cpu_usage.mode_override": "enforced",
    "admission_control.indexing.cpu_usage.limit": 0,
}


@pytest.fixture
async def world(database: Database, opensearch: OpenSearchServer) -> AsyncIterator[ClusterWorld]:
    made = ClusterWorld(database, opensearch)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def fragile() -> Iterator[OpenSearchServer]:
    """A server of this module's own, to kill and to freeze."""
    # So that it knows soon how busy it is: before that its admission control admits everything.
    windows = ("global_cpu_usage", "global_io_usage", "global_jvmmp")
    settings = {f"node.resource.tracker.{window}.window_duration": "5s" for window in windows}
    yield from services.for_session(lambda folder: OpenSearchServer(folder, settings=settings))


@pytest.fixture
async def fragile_world(database: Database, fragile: OpenSearchServer) -> AsyncIterator[ClusterWorld]:
    made = ClusterWorld(database, fragile)
    yield made
    await fragile.resume()
    await fragile.start()
    await made.close()


async def test_a_document_is_completed_once_it_can_be_found(world: ClusterWorld) -> None:
    async with world.following() as follower:
        job = await world.upload("apples and pears", "plums")
        await world.embed(1)
        await until(lambda: finds(world, "apple plum", 1))
        assert await world.status(job) == "embedding"
        await world.embed()
        await world.completed(job)
        assert await world.found("apple") == 1 and await world.found("plum") == 1
        assert follower.state.leading and follower.state.error is None
        await world.delete(job)
        await world.caught_up()
        assert await world.found("apple") == 0


async def test_what_changed_while_nobody_followed_is_noticed(world: ClusterWorld) -> None:
    async with world.following():
        gone, stays = await written(world, "apples"), await written(world, "pears", "grapes")
        await world.completed(gone, stays)
    await world.delete(gone)
    new = await written(world, "plums")
    entries, _ = await world.changes.read(list(await world.live()), world.model_id)
    await world.index.add(entries)
    await world.index.commit()  # and killed before the acknowledgement
    await world.reopen()
    async with world.following():
        await world.completed(new)
        await world.caught_up()
        assert [await world.found(word) for word in ("apples", "pears", "plums")] == [0, 1, 1]


async def test_new_documents_do_not_wait_until_all_is_compared(
    world: ClusterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparing is held up in its second part; what is uploaded meanwhile is completed all the same."""
    monkeypatch.setattr(follower_module, "COMPARE_CHUNKS", 5)
    async with world.following():
        await world.completed(await written(world, *(f"apples {n}" for n in range(40))))
    held = Held(world.db)
    world.changes = held
    waiting = await written(world, "pears")
    await world.reopen()
    async with world.following() as follower:
        await world.completed(waiting)
        await world.completed(await written(world, "plums"))
        assert not follower.state.ready
        held.go_on.set()
        await until(lambda: ready(follower))


class Held(Changes):
    """Gives the live chunks of a comparison slowly, one part at a time, until it may go on."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.go_on = asyncio.Event()

    async def live(self, model_id: int, first: int = 0, limit: int | None = None) -> Any:
        """The first parts, again and again, while held."""
        found = await super().live(model_id, first if self.go_on.is_set() else 0, limit)
        if not self.go_on.is_set():
            await asyncio.sleep(0.02)
        return found


async def test_too_much_for_now_is_waited_out(fragile_world: ClusterWorld) -> None:
    """Every write is answered with 429, by OpenSearch's own admission control."""
    world = fragile_world
    async with world.following() as follower:
        await world.completed(await written(world, "apples"))
        await world.call("PUT", "/_cluster/settings", {"transient": ADMISSION})
        try:
            jobs: list[UUID] = []

            async def refused() -> bool:
                jobs.append(await written(world, f"pears {len(jobs)}"))
                return await says(follower, "more to do")

            await until(refused)  # a young node does not know yet how busy it is
            assert await world.status(jobs[-1]) == "embedding"
            assert await world.found("apples") == 1
        finally:
            await world.call("PUT", "/_cluster/settings", {"transient": dict.fromkeys(ADMISSION)})
        await world.completed(*jobs)
        await until(lambda: says(follower, ""))


async def test_an_index_that_was_deleted_is_built_again(world: ClusterWorld) -> None:
    async with world.following():
        old = await written(world, *(f"apples {n}" for n in range(50)))
        await world.completed(old)
        for _ in range(2):
            await world.call("DELETE", f"/{await world.serving()}")
            assert await world.unavailable()
            await until(lambda: finds(world, "apples", 50))  # nobody has to write for that
        await world.call("DELETE", f"/{await world.serving()}")
        new = await written(world, "pears")
        await world.completed(new)
        assert await world.found("apples") == 50 and await world.found("pears") == 1


async def test_a_question_is_never_answered_from_a_part(world: ClusterWorld) -> None:
    """While the index is lost, and built again, and wrong, answers are whole or none."""
    done = False

    async def ask() -> set[int]:
        counts = set()
        while not done:
            try:
                counts.add(await world.found("apples"))
            except errors.Unavailable:
                counts.add(-1)
            await asyncio.sleep(0)
        return counts

    async with world.following():
        await world.completed(await written(world, *(f"apples {n}" for n in range(400))))
        asking = asyncio.create_task(ask())
        for _ in range(2):
            name = await world.serving()
            await world.call("DELETE", f"/{name}")
            # What a foreign writer makes of it: the same name, a mapping of its own.
            await world.call("PUT", f"/{random.choice([name, world.api._names.alias])}/_doc/1", {"text": "apples"})
            await until(lambda: finds(world, "apples", 400))
        done = True
        assert await asking == {-1, 400}


async def test_a_part_that_is_missing_comes_back(fragile_world: ClusterWorld) -> None:
    world = fragile_world
    world.missing_seconds = 300
    await world.reopen()
    async with world.following() as follower:
        await world.completed(await written(world, "apples"))
        name = await world.serving()
        away = await lose_shard(world.server, name)
        assert await world.unavailable()
        job = await written(world, "pears")
        await until(lambda: says(follower, "missing"))
        await bring_shard(world.server, away)
        await world.completed(job)
        assert await world.found("apples") == 1
        assert await world.serving() == name


async def test_a_part_that_stays_missing_is_built_again(world: ClusterWorld) -> None:
    async with world.following():
        await world.completed(await written(world, "apples"))
        name = await world.serving()
        await lose_shard(world.server, name)
        job = await written(world, "pears")
        await world.completed(job)
        assert await world.found("apples") == 1 and await world.serving() != name


async def test_killed_and_started_again_in_the_middle(fragile_world: ClusterWorld) -> None:
    world, server = fragile_world, fragile_world.server
    jobs: list[UUID] = []
    under_way = asyncio.Event()

    async def feed() -> None:
        for n in range(60):
            jobs.append(await written(world, *(f"apples {n} {m}" for m in range(20))))
            await asyncio.sleep(0.03)
            if n == 10:
                under_way.set()

    async with world.following():
        feeding = asyncio.create_task(feed())
        await under_way.wait()
        await server.kill()
        assert await world.unavailable()
        await server.start()
        await feeding
        await world.completed(*jobs, seconds=60)
        await world.caught_up()
        assert await world.found("apples") == 60 * 20


async def test_frozen_and_back(fragile_world: ClusterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds its connections and answers nothing: what was sent may still be done, late."""
    world, server = fragile_world, fragile_world.server
    monkeypatch.setattr("datadistiller.indexing.opensearch_writer.BULK_SECONDS", 1.0)
    async with world.following() as follower:
        await world.completed(await written(world, "apples"))
        await server.pause()
        jobs = [await written(world, f"pears {n}") for n in range(3)]
        await until(lambda: says(follower, "does not answer"))
        assert [await world.status(job) for job in jobs] == ["embedding"] * 3
        await server.resume()
        await world.completed(*jobs)
        await world.caught_up()


async def test_its_disk_is_lost(fragile_world: ClusterWorld) -> None:
    world, server = fragile_world, fragile_world.server
    async with world.following():
        await world.completed(await written(world, *(f"apples {n}" for n in range(50))))
        await server.wipe()
        job = await written(world, "pears")
        await server.start()
        await world.completed(job, seconds=60)
        assert await world.found("apples") == 50 and await world.found("pears") == 1


async def test_a_rebuild_goes_on_beside_everything(world: ClusterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions are answered from all of it throughout, and new documents are completed."""
    monkeypatch.setattr(follower_module, "COMPARE_CHUNKS", 50)
    monkeypatch.setattr(follower_module, "COMMIT_CHUNKS", 25)
    async with world.following() as follower:
        await world.completed(await written(world, *(f"apples number{n}" for n in range(500))))
        before = await world.serving()
        follower.request_rebuild()
        jobs: list[UUID] = []
        while follower.state.rebuilding:
            assert await world.found("apples") == 500
            jobs.append(await written(world, f"pears {len(jobs)}"))
            await world.completed(jobs[-1])
            assert await world.found("pears") == len(jobs)
        assert await world.serving() != before and len(jobs) > 1
        await world.caught_up()
        assert await world.found("apples") == 500 and await world.found("pears") == len(jobs)
        assert len(await world.call("GET", f"/{world.access.prefix}-*/_alias")) == 1


async def test_what_the_api_knows_of_a_follower_elsewhere(world: ClusterWorld) -> None:
    followers = Followers(world.db)
    status = OutsideStatus(world.api, followers, world.changes, world.notifier, patience_seconds=3)
    state = await status.state()
    assert not state.ready and not state.serving and "not built yet" in (state.error or "")
    await status.request_rebuild()  # before anybody follows
    async with world.following() as follower, reporting(follower, followers):
        await until(lambda: _fine(status))
        await until(lambda: _asked(followers, 1))
        job = await written(world, "apples")
        await world.completed(job)
        await until(lambda: _lags(status, 0))
        assert (await status.state()).entries == 1
        before = await world.serving()
        await status.request_rebuild()
        await until(lambda: _asked(followers, 2))
        assert await world.serving() != before
    await written(world, "pears", "plums")
    await until(lambda: _lags(status, 2))
    await until(lambda: _idle(status))  # and what is indexed is still found
    assert await world.found("apples") == 1


@asynccontextmanager
async def reporting(follower: Follower, followers: Followers) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Reporter(follower, followers, "index-1", 30).run(stop))
    yield
    stop.set()
    await task


async def _fine(status: OutsideStatus) -> bool:
    state = await status.state()
    return state.ready and state.serving and state.error is None


async def _lags(status: OutsideStatus, chunks: int) -> bool:
    return (await status.state()).lag == chunks


async def _idle(status: OutsideStatus) -> bool:
    state = await status.state()
    return state.serving and "No index worker is alive ('index-1'" in (state.error or "") and "serve" in state.hint


async def _asked(followers: Followers, rebuilt: int) -> bool:
    async with followers._db.connection() as conn:
        row = await (await conn.execute("SELECT asked, rebuilt FROM followers")).fetchone()
    return row is not None and row["asked"] == row["rebuilt"] == rebuilt
