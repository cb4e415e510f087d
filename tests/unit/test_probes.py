"""What a process answers on its own port, piece by piece."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from datadistiller import errors
from datadistiller.runtime import listening, probes, telemetry
from tools.services import ports

ROOT = Path(__file__).parents[2]


class Database:
    """Answers, or does not."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.silent = False

    async def ping(self) -> None:
        if self.silent:
            await asyncio.sleep(3600)
        if self.error:
            raise self.error


class Heart:
    """Beats, or has stopped."""

    def __init__(self) -> None:
        self.stopped = False

    def expired(self) -> bool:
        return self.stopped


class Process:
    """One that has just started."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.database, self.heart = Database(), Heart()
        self.metrics = telemetry.Metrics()
        self.probes = probes.Probes("embed-7", ["embed", "reaper"], self.stop)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.probes), base_url="http://localhost")  # type: ignore[arg-type]

    def connect(self) -> None:
        self.probes.connected(self.database, self.heart, self.metrics)  # type: ignore[arg-type]

    async def says(self, path: str) -> tuple[int, str]:
        answer = await self.client.get(path)
        said: dict[str, Any] = answer.json()
        assert (said["worker"], said["roles"]) == ("embed-7", ["embed", "reaper"])
        return answer.status_code, said["detail"]


async def test_it_lives_from_the_begin_and_is_ready_when_all_roles_run() -> None:
    process = Process()
    assert await process.says("/livez") == (200, "")
    assert await process.says("/readyz") == (503, "It waits for the database.")
    process.connect()
    assert await process.says("/readyz") == (503, "It is starting.")
    process.probes.working()
    assert await process.says("/readyz") == (200, "")


async def test_told_to_stop_it_lives_and_is_not_ready() -> None:
    process = Process()
    process.connect()
    process.probes.working()
    process.stop.set()
    assert await process.says("/livez") == (200, "")
    assert await process.says("/readyz") == (503, "The process is stopping.")


async def test_without_its_database_it_lives_and_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PATIENCE", 0.05)  # the limit itself, made short enough to wait for
    process = Process()
    process.connect()
    process.probes.working()
    process.database.error = errors.Unavailable("The database is away.")
    assert await process.says("/readyz") == (503, "The database is away.")
    process.database.silent = True
    status, detail = await process.says("/readyz")
    assert status == 503 and "did not answer" in detail
    assert await process.says("/livez") == (200, "")


async def test_an_expired_heartbeat_is_death() -> None:
    process = Process()
    process.connect()
    process.heart.stopped = True
    assert (await process.says("/livez"))[0] == 503


async def test_metrics_are_those_of_the_process_and_its_name() -> None:
    process = Process()
    assert 'worker="embed-7"' in (await process.client.get("/metrics")).text
    process.connect()
    process.metrics.attempts.labels("embed", "done").inc(3)
    answer = await process.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'datadistiller_attempts_total{outcome="done",stage="embed"} 3.0' in answer.text
    assert 'datadistiller_process_info{roles="embed,reaper",worker="embed-7"} 1.0' in answer.text


async def test_nothing_else_is_there() -> None:
    process = Process()
    for path in ("/", "/health", "/livez/", "/docs"):
        assert (await process.client.get(path)).status_code == 404
    assert (await process.client.post("/livez")).status_code == 405
    head = await process.client.head("/livez")
    assert (head.status_code, head.content) == (200, b"")


async def test_it_answers_on_its_port_and_on_none_with_port_0() -> None:
    process = Process()
    [port] = ports.free(["health"]).values()
    async with httpx.AsyncClient() as client:
        async with probes.answering(process.probes, ports.LOOPBACK, port):
            async with asyncio.timeout(30):
                assert (await client.get(f"http://{ports.LOOPBACK}:{port}/livez")).status_code == 200
            with pytest.raises(errors.SetupError, match=f"Port {port}") as refused:
                listening.listen(ports.LOOPBACK, port, "DATADISTILLER_HEALTH_PORT")
            assert "DATADISTILLER_HEALTH_PORT" in refused.value.hint
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://{ports.LOOPBACK}:{port}/livez")
        async with probes.answering(process.probes, ports.LOOPBACK, 0):
            pass


def test_workers_carry_a_web_server_only_if_they_are_to_answer_and_never_the_framework_of_the_api() -> None:
    code = (
        "import sys, datadistiller.wiring, datadistiller.runtime.probes; web = {'uvicorn', 'starlette', 'fastapi'}; "
        "print(sorted(web & set(sys.modules))); import datadistiller.runtime.listening; "
        "print(sorted(web & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['uvicorn']"]
