"""Workers that die, stall, are told to stop, or lose their database: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from datadistiller.messages import CHUNK_TOPIC
from datadistiller.runtime import process
from datadistiller.store import migrate
from datadistiller.store.database import Database
from datadistiller.store.embedded import EmbeddedPostgres
from datadistiller.store.jobs import Jobs
from datadistiller.store.messages import Messages
from tests import seed
from tests.failure import slow_worker

ROOT = Path(__file__).parents[2]
CHUNKS = 3


class Workers:
    """Starts real worker processes whose stage this test holds and lets go."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, mark: int, lease_seconds: float = 60, **settings: object) -> subprocess.Popen[bytes]:
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "DATADISTILLER_DATABASE_URL": self.url}
        env |= {f"DATADISTILLER_{name.upper()}": str(value) for name, value in settings.items()}
        argv = [sys.executable, "-m", "tests.failure.slow_worker", str(self.folder), str(mark), str(lease_seconds)]
        with (self.folder / f"worker-{mark}.log").open("ab") as log:
            worker = subprocess.Popen(argv, env=env, cwd=ROOT, stdout=log, stderr=log)
        self.started.append(worker)
        return worker

    def go(self) -> None:
        """Lets every stage, now and later, finish at once."""
        (self.folder / "go").touch()

    def said(self) -> list[str]:
        """What the stages wrote so far."""
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def workers(database_url: str, tmp_path: Path) -> Iterator[Workers]:
    with started(database_url, tmp_path) as held:
        yield held


@contextmanager
def started(url: str, folder: Path) -> Iterator[Workers]:
    held = Workers(url, folder)
    try:
        yield held
    finally:
        for worker in held.started:
            worker.kill()
            worker.wait()


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while True:
        result = holds()
        if result is True or (not isinstance(result, bool) and await result):
            return
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


async def done(database: Database) -> bool:
    return not await seed.messages_left(database)


async def reap(database: Database, timeout_seconds: float) -> bool:
    return await Messages(database).reap(timeout_seconds, {CHUNK_TOPIC: seed.LIMITS}) > 0


def vector_of(mark: int) -> bytes:
    return np.full(slow_worker.DIM, mark, np.float16).tobytes()


async def test_killed_in_the_middle(database: Database, workers: Workers) -> None:
    await seed.chunked(database, CHUNKS)
    first = workers.start(1)
    await until(lambda: workers.said() == [f"begun 1 {CHUNKS}"])
    first.kill()
    workers.go()
    await until(lambda: reap(database, timeout_seconds=1))
    workers.start(2)
    await until(lambda: done(database))
    assert await seed.vectors(database) == [vector_of(2)] * CHUNKS
    # Each of the three is a suspect now and was given out alone.
    assert workers.said()[1:] == ["begun 2 1", "computed 2 1"] * CHUNKS


async def test_a_worker_that_was_frozen_ends_itself_and_writes_nothing(database: Database, workers: Workers) -> None:
    await seed.chunked(database, CHUNKS)
    frozen = workers.start(1, heartbeat_seconds=0.2, worker_timeout_seconds=2)
    await until(lambda: workers.said() == [f"begun 1 {CHUNKS}"])
    frozen.send_signal(signal.SIGSTOP)
    await until(lambda: reap(database, timeout_seconds=2))
    workers.go()
    second = workers.start(2)
    await until(lambda: done(database))
    frozen.send_signal(signal.SIGCONT)
    assert await asyncio.to_thread(frozen.wait, 10) == process.EXIT_LEASES_LOST
    assert second.poll() is None
    assert await seed.vectors(database) == [vector_of(2)] * CHUNKS


async def test_a_write_after_the_lease_is_refused(database: Database, workers: Workers) -> None:
    await seed.chunked(database, CHUNKS)
    # Its heartbeat would be believed for long: only the lease ends.
    frozen = workers.start(1, lease_seconds=3, worker_timeout_seconds=60)
    await until(lambda: workers.said() == [f"begun 1 {CHUNKS}"])
    frozen.send_signal(signal.SIGSTOP)
    await until(lambda: reap(database, timeout_seconds=60))
    workers.go()
    second = workers.start(2)
    await until(lambda: done(database))
    second.terminate()
    await asyncio.to_thread(second.wait, 15)
    frozen.send_signal(signal.SIGCONT)
    # It settles one batch after the other: when it has done this one, it has tried to settle that one.
    await seed.chunked(database, 1)
    await until(lambda: done(database))
    assert await seed.vectors(database) == [vector_of(2)] * CHUNKS + [vector_of(1)]


async def test_a_drain_gives_back_what_it_cannot_finish(database: Database, workers: Workers) -> None:
    await seed.chunked(database, CHUNKS)
    worker = workers.start(1, drain_seconds=0.5)
    await until(lambda: workers.said() == [f"begun 1 {CHUNKS}"])
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, 15) == 0
    assert workers.said()[1:] == [f"cancelled 1 {CHUNKS}"]
    left = await seed.messages_left(database)
    assert [(m["tries"], m["crashes"], m["lease_token"]) for m in left] == [(0, 0, None)] * CHUNKS
    async with database.connection() as conn:
        assert await (await conn.execute("SELECT * FROM workers")).fetchall() == []


async def test_a_drain_finishes_what_it_can(database: Database, workers: Workers) -> None:
    await seed.chunked(database, CHUNKS)
    worker = workers.start(1)
    await until(lambda: workers.said() == [f"begun 1 {CHUNKS}"])
    worker.terminate()
    workers.go()
    assert await asyncio.to_thread(worker.wait, 15) == 0
    assert await seed.vectors(database) == [vector_of(1)] * CHUNKS


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_work_on_a_document_nobody_wants_is_stopped(database: Database, workers: Workers, how: str) -> None:
    job_id = await seed.chunked(database, CHUNKS)
    worker = workers.start(1)
    await until(lambda: workers.said() == [f"begun 1 {CHUNKS}"])
    await getattr(Jobs(database), how)(job_id)
    await until(lambda: workers.said()[1:] == [f"cancelled 1 {CHUNKS}"], seconds=5)
    workers.go()
    await seed.chunked(database, 1)
    await until(lambda: "computed 1 1" in workers.said())
    assert worker.poll() is None
    await until(lambda: vectors_are(database, [vector_of(1)]))


async def vectors_are(database: Database, expected: list[bytes]) -> bool:
    return await seed.vectors(database) == expected


@pytest.fixture
async def own_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    """A server that this test may stop."""
    folder = tmp_path_factory.mktemp("pg")
    server = EmbeddedPostgres(folder / "postgres")
    await server.start()
    yield server
    await server.stop()


async def test_results_outlive_an_absence_of_the_database(own_server: EmbeddedPostgres, tmp_path: Path) -> None:
    database = Database(own_server.url, name="test")
    await database.open()
    await migrate.migrate(database)
    with started(own_server.url, tmp_path) as workers:
        await seed.chunked(database, CHUNKS)
        worker = workers.start(1, worker_timeout_seconds=30)
        await until(lambda: workers.said() == [f"begun 1 {CHUNKS}"])
        await own_server.stop()
        workers.go()
        await until(lambda: len(workers.said()) == 2)
        await asyncio.sleep(2)
        await own_server.start()
        await until(lambda: done(database))
        assert await seed.vectors(database) == [vector_of(1)] * CHUNKS
        assert workers.said() == [f"begun 1 {CHUNKS}", f"computed 1 {CHUNKS}"]
        assert worker.poll() is None
    await database.close()


async def test_a_worker_that_cannot_say_it_lives_ends_itself(own_server: EmbeddedPostgres, tmp_path: Path) -> None:
    database = Database(own_server.url, name="test")
    await database.open()
    await migrate.migrate(database)
    with started(own_server.url, tmp_path) as workers:
        await seed.chunked(database, CHUNKS)
        worker = workers.start(1, heartbeat_seconds=0.2, worker_timeout_seconds=3)
        await until(lambda: workers.said() == [f"begun 1 {CHUNKS}"])
        await own_server.stop()
        assert await asyncio.to_thread(worker.wait, 15) == process.EXIT_LEASES_LOST
    await database.close()
