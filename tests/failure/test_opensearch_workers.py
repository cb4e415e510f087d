"""Index workers as processes: one leads, and another takes over whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from datadistiller.embedding import artifact
from datadistiller.store.database import Database
from datadistiller.store.followers import Followers
from tests.failure.opensearch_world import ClusterWorld, finds, written
from tests.failure.world import until
from tools.services.opensearch import OpenSearchServer

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)


async def test_a_second_index_worker_takes_over_from_a_killed_one(
    database: Database, database_url: str, opensearch: OpenSearchServer, tmp_path: Path
) -> None:
    """Real processes, the role ``index``. The second one is not killed but frozen, and wakes up too late."""
    card = artifact.read()
    world = ClusterWorld(database, opensearch, card.dim, card.fingerprint)
    await world.activate()
    async with contextlib.AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(serving_index(world, database_url, tmp_path, n)) for n in range(2)]
        await world.completed(await written(world, *(f"apples {n}" for n in range(20))))
        followers = Followers(database)
        leader = await leading(followers)
        job = await written(world, *(f"pears {n}" for n in range(500)))
        workers[leader].kill()
        await world.completed(job)
        await until(lambda: _leads(followers, 1 - leader))
        await workers[leader].wait()
        workers[leader] = await stack.enter_async_context(serving_index(world, database_url, tmp_path, leader))
        frozen = workers[1 - leader]
        frozen.send_signal(signal.SIGSTOP)
        try:
            late = await written(world, *(f"pears {n}" for n in range(500, 1000)))
            await world.completed(late)
            await world.delete(job)
            await until(lambda: finds(world, "pears", 500))
        finally:
            frozen.send_signal(signal.SIGCONT)
        await world.completed(await written(world, "figs"))
        await until(lambda: _leads(followers, leader))
        assert await world.found("pears") == 500 and await world.found("apples") == 20
    await world.close()


async def leading(followers: Followers) -> int:
    """The number of the index worker that leads, once one has said so."""
    await until(lambda: _heard(followers))
    return int((await followers.state()).worker_id.removeprefix("index-"))


async def _heard(followers: Followers) -> bool:
    return (await followers.state()).silent_seconds is not None


async def _leads(followers: Followers, number: int) -> bool:
    state = await followers.state()
    return state.worker_id == f"index-{number}" and (state.silent_seconds or 0) < 3


@asynccontextmanager
async def serving_index(
    world: ClusterWorld, database_url: str, folder: Path, number: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of the role ``index``."""
    settings = {
        "DATADISTILLER_DATABASE_URL": database_url,
        "DATADISTILLER_INDEX_URL": f"opensearch://{world.server.url.split('://')[1]}/{world.access.prefix}",
        "DATADISTILLER_OPENSEARCH_REPLICAS": "0",
        "DATADISTILLER_DATA_DIR": str(folder),
        "WORKER_ID": f"index-{number}",
        "PYTHONPATH": "src",
    }
    command = (sys.executable, "-m", "datadistiller", "serve", "--roles", "index")
    with (folder / f"index-{number}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | settings, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            assert await process.wait() in (0, -signal.SIGTERM), "it stops when told to, be it while it starts"
        lines = (folder / f"index-{number}.log").read_text().splitlines()
        assert all(json.loads(line)["level"] != "error" for line in lines)
