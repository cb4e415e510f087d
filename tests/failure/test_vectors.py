"""A worker that is killed with vectors it found: the next one finds them again, and the model is not asked twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from datadistiller.messages import CHUNK_TOPIC
from datadistiller.store.database import Database
from datadistiller.store.messages import Messages
from tests import seed
from tests.failure.test_runtime_workers import ROOT, done, until
from tools.services import ports

CHUNKS = 20
SECONDS = 120  # a worker loads its model first, on a machine that may be busy


class Embedder:
    """A real embedding worker, and what it counted."""

    def __init__(self, url: str, folder: Path) -> None:
        port = ports.free(["metrics"])["metrics"]
        self.metrics = f"http://127.0.0.1:{port}/metrics"
        settings = {"DATABASE_URL": url, "DATA_DIR": str(folder), "HEALTH_PORT": str(port)}
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        env |= {f"DATADISTILLER_{name}": value for name, value in settings.items()}
        argv = [sys.executable, "-m", "datadistiller", "serve", "--roles", "embed"]
        with (folder / "embed.log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=env, cwd=folder, stdout=log, stderr=log)

    def counted(self, source: str) -> float:
        """How many vectors came from there."""
        name = f'datadistiller_vectors_total{{source="{source}"}} '
        lines = httpx.get(self.metrics).text.splitlines()
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Callable[[], Embedder]]:
    """Starts workers; all are gone in the end."""
    started: list[Embedder] = []

    def one() -> Embedder:
        started.append(Embedder(database_url, tmp_path))
        return started[-1]

    yield one
    for worker in started:
        worker.process.kill()
        worker.process.wait()


async def settling(database: Database) -> bool:
    """Whether a worker waits to settle what it has."""
    async with database.connection() as conn:
        rows = await conn.execute(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'KEY UPDATE'"
        )
        return bool(await rows.fetchall())


async def test_killed_between_finding_and_settling(database: Database, start: Callable[[], Embedder]) -> None:
    await seed.chunked(database, CHUNKS)
    first = start()
    await until(lambda: done(database), SECONDS)
    assert (first.counted("computed"), first.counted("found")) == (CHUNKS, 0)
    mark = np.full(384, 0.5, np.float16).tobytes()  # what no text is embedded to: only who looks has it
    async with database.connection() as conn:
        await conn.execute("UPDATE chunk_vectors SET vector = %s", [mark])
    async with database.transaction() as conn:
        # The second document is locked, so that the worker comes as far as the settlement and no further.
        job_id = await seed.chunked(database, CHUNKS)
        await conn.execute("SELECT 1 FROM document_jobs WHERE job_id = %s FOR NO KEY UPDATE", [job_id])
        await until(lambda: settling(database), SECONDS)
        first.process.kill()
        first.process.wait()
    assert len(await seed.messages_left(database)) == CHUNKS
    assert await seed.vectors(database) == [mark] * CHUNKS
    await until(lambda: reaped(database))
    second = start()
    await until(lambda: done(database), SECONDS)
    assert (second.counted("computed"), second.counted("found")) == (0, CHUNKS)
    assert await seed.vectors(database) == [mark] * 2 * CHUNKS


async def reaped(database: Database) -> bool:
    return await Messages(database).reap(1, {CHUNK_TOPIC: seed.LIMITS}) > 0
