"""A real worker process, and what orchestrators see of it: waiting, ready, draining, gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from datadistiller.messages import INGEST_TOPIC, Done
from datadistiller.store.database import Database
from datadistiller.store.messages import Messages
from tests import seed
from tests.contracts import store_kit
from tools.services import ports

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)
ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
Start = Callable[..., "Served"]


class Served:
    """``datadistiller serve`` with a port for probes."""

    def __init__(self, folder: Path, roles: str, **settings: object) -> None:
        [self.port] = ports.free(["health"]).values()
        self.log = folder / f"{roles}-{self.port}.log"
        given = {"data_dir": folder, "health_port": self.port, **settings}
        env = {name: value for name, value in os.environ.items() if not name.startswith("DATADISTILLER_")}
        env |= {f"DATADISTILLER_{name.upper()}": str(value) for name, value in given.items()}
        env |= {"PYTHONPATH": str(ROOT / "src"), "WORKER_ID": "embed-7"}
        argv = [sys.executable, "-m", "datadistiller", "serve", "--roles", roles]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(argv, env=env, stdout=out, stderr=out)

    def status(self, path: str) -> int:
        """The status of a probe; 0 if nobody answers."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10).status_code
        except httpx.TransportError:
            return 0

    def until(self, path: str, status: int) -> None:
        """Waits for an answer."""
        end = time.monotonic() + PATIENCE
        while self.status(path) != status:
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Served] = []

    def begin(roles: str, **settings: object) -> Served:
        started.append(Served(tmp_path, roles, **settings))
        return started[-1]

    yield begin
    for served in started:
        served.process.kill()
        served.process.wait()


def test_it_waits_for_its_database_alive_and_not_ready(start: Start, postgres_url: str) -> None:
    served = start("embed,reaper", database_url="postgresql://me@127.0.0.1:1/db")
    served.until("/livez", 200)
    assert (served.status("/readyz"), served.status("/metrics")) == (503, 200)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(PATIENCE) == 0


async def work(database: Database, chunks: int) -> None:
    """A document of long chunks, ready to be embedded."""
    await seed.accepted(database)
    messages = Messages(database)
    [delivery] = await messages.claim(INGEST_TOPIC, 1, uuid.uuid4(), 60)
    texts = [f"Chunk {n}. " + "The keeper of the lamp writes into his book. " * 18 for n in range(chunks)]
    await messages.settle(seed.LIMITS, [Done(delivery, store_kit.reading(delivery.job_id, texts))], None)


async def test_it_is_ready_while_it_works_and_first_of_all_not_when_it_drains(
    database: Database, database_url: str, start: Start
) -> None:
    await work(database, 2000)
    served = start("embed", database_url=database_url)
    served.until("/readyz", 200)
    end = time.monotonic() + PATIENCE
    while 'outcome="done",stage="embed"' not in (said := counted(served)):
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
    assert 'datadistiller_process_info{roles="embed",worker="embed-7"} 1.0' in said
    served.process.send_signal(signal.SIGTERM)
    seen = []
    while not seen or seen[-1] != (0, 0):
        seen.append((served.status("/readyz"), served.status("/livez")))
    assert served.process.wait(PATIENCE) == 0
    ready, alive = [status for status, _ in seen], [status for _, status in seen]
    assert 503 in ready and 200 in alive, seen
    assert sorted(ready, key=[200, 503, 0].index) == ready, seen
    assert 503 not in alive, seen


def counted(served: Served) -> str:
    return httpx.get(f"http://127.0.0.1:{served.port}/metrics", timeout=10).text


def test_a_port_that_is_taken_is_a_sentence(start: Start, postgres_url: str, tmp_path: Path) -> None:
    first = start("reaper", database_url="postgresql://me@127.0.0.1:1/db")
    first.until("/livez", 200)
    second = start("reaper", database_url="postgresql://me@127.0.0.1:1/db", health_port=first.port)
    assert second.process.wait(PATIENCE) == 78
    assert f"Port {first.port} of 127.0.0.1 is used" in second.log.read_text()
