"""The supervisor with real child processes: restarts, drains, leftovers of a killed one, a service that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from datadistiller.runtime import process
from datadistiller.runtime.logfile import LogFiles
from datadistiller.runtime.registry import Registry
from datadistiller.runtime.supervisor import Death, ProcessSpec, Supervisor
from datadistiller.store.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
#: Says its pid, then takes `seconds` to stop when told to.
CHILD = """
import os, signal, sys, time
def stop(*_): time.sleep(float(sys.argv[2])); open(sys.argv[1] + '/drained', 'a').write('x'); os._exit(0)
signal.signal(signal.SIGTERM, stop)
print('pid', os.getpid(), flush=True)
time.sleep(60)
"""


def spec(folder: Path, name: str = "child", drain: float = 0) -> ProcessSpec:
    return ProcessSpec(name, [sys.executable, "-c", CHILD, str(folder), str(drain)], ENV)


def pids(folder: Path, name: str = "child") -> list[int]:
    log = folder / "logs" / f"{name}.log"
    return [int(line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []


async def until(holds: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


def launched(argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """A process of another program, as a person or an orchestrator starts it."""
    return subprocess.Popen(argv, **options)


class Running:
    """A supervisor in this process; stopped at the end."""

    def __init__(self, folder: Path, drain_seconds: float = 5, **services: EmbeddedPostgres) -> None:
        self.deaths: list[Death] = []
        self.supervisor = Supervisor(folder, drain_seconds, self._died)
        self.services = services
        self.stop = asyncio.Event()

    async def __call__(self, *specs: ProcessSpec) -> Running:
        self._task = asyncio.create_task(self.supervisor.run(specs, self.stop, self.services))
        return self

    async def __aenter__(self) -> Running:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await self._task

    async def _died(self, death: Death) -> None:
        self.deaths.append(death)


async def test_a_dead_child_is_reported_and_started_again(tmp_path: Path) -> None:
    async with await Running(tmp_path)(spec(tmp_path)) as running:
        await until(lambda: len(pids(tmp_path)) == 1)
        os.kill(pids(tmp_path)[0], signal.SIGKILL)
        await until(lambda: len(pids(tmp_path)) == 2)
        assert [(d.name, d.pid, d.code) for d in running.deaths] == [("child", pids(tmp_path)[0], -signal.SIGKILL)]
        assert [entry.pid for entry in running.supervisor.registry.entries()] == [pids(tmp_path)[1]]
    assert not running.supervisor.registry.entries()


async def test_a_child_that_cannot_run_is_started_less_and_less_often(tmp_path: Path) -> None:
    crashing = ProcessSpec("child", [sys.executable, "-c", "raise SystemExit(3)"], ENV)
    missing = ProcessSpec("missing", ["/no/such/program"], ENV)
    async with await Running(tmp_path)(crashing, missing) as running:
        await until(lambda: running.supervisor.deaths.get("child", 0) >= 3)
    assert {death.code for death in running.deaths} == {3}
    assert running.supervisor.deaths["child"] < 10, "the pauses grow"
    assert running.supervisor.deaths["missing"] < 10


async def test_children_get_time_to_drain_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datadistiller.runtime.supervisor.EXIT_MARGIN", 0.0)
    specs = [spec(tmp_path, "quick", drain=0.2), spec(tmp_path, "slow", drain=60)]
    async with await Running(tmp_path, drain_seconds=2)(*specs) as running:
        await until(lambda: bool(pids(tmp_path, "quick") and pids(tmp_path, "slow")))
    assert {death.name: death.code for death in running.deaths} == {"quick": 0, "slow": -signal.SIGKILL}
    assert (tmp_path / "drained").read_text() == "x"


async def test_ctrl_c_in_the_terminal_does_not_reach_the_children(tmp_path: Path) -> None:
    async with await Running(tmp_path)(spec(tmp_path)):
        await until(lambda: len(pids(tmp_path)) == 1)
        assert os.getpgid(pids(tmp_path)[0]) != os.getpgid(0)
        assert os.getsid(pids(tmp_path)[0]) == os.getsid(0), "nice values count within a session"


async def test_what_a_killed_child_started_goes_with_it(tmp_path: Path) -> None:
    starts = "import os, subprocess; print('pid', subprocess.Popen(['sleep', '60']).pid, flush=True)"
    dies = f"{starts}; os.kill(os.getpid(), 9)"
    parent = ProcessSpec("child", [sys.executable, "-c", dies], ENV)
    async with await Running(tmp_path)(parent):
        await until(lambda: len(pids(tmp_path)) >= 1)
        await until(lambda: gone(pids(tmp_path)[0]))


def gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from datadistiller.runtime.supervisor import Supervisor
from tests.failure.test_runtime_supervisor import spec
async def died(death): pass
folder = Path(sys.argv[1])
asyncio.run(Supervisor(folder, 5, died).run([spec(folder)], asyncio.Event()))
"""


async def test_what_a_killed_supervisor_left_is_found_and_stopped(tmp_path: Path) -> None:
    killed = launched([sys.executable, "-c", SUPERVISOR, str(tmp_path)], env=ENV, cwd=ROOT)
    try:
        await until(lambda: len(pids(tmp_path)) == 1 and len(Registry(tmp_path / "run").entries()) == 1)
    finally:
        killed.kill()
        killed.wait()
    assert not gone(pids(tmp_path)[0])
    assert await Registry(tmp_path / "run").stop_leftovers(5) == ["child"]
    assert gone(pids(tmp_path)[0])
    assert (tmp_path / "drained").exists(), "kindly first"
    assert await Registry(tmp_path / "run").stop_leftovers(5) == []


async def test_strangers_with_a_recorded_number_are_left_alone(tmp_path: Path) -> None:
    stranger = launched(["sleep", "60"])
    try:
        registry = Registry(tmp_path)
        registry.record("other program", stranger.pid, [sys.executable, "-m", "datadistiller"])
        registry.record("other start", stranger.pid, ["sleep", "60"])
        file = tmp_path / "other start.json"
        file.write_text(file.read_text().replace(":", ":1", 3))
        (tmp_path / "half.json").write_text('{"pid": ')
        assert await registry.stop_leftovers(1) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


ORPHAN = """
import asyncio, os, subprocess, sys
env = dict(os.environ, DATADISTILLER_SUPERVISOR=str(os.getpid()))
argv = [sys.executable, '-m', 'datadistiller', 'serve', '--roles', sys.argv[1]]
print(subprocess.Popen(argv, env=env, process_group=0).pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("roles", ["embed", "api,reaper"])
async def test_a_child_whose_supervisor_was_killed_ends_itself(database_url: str, tmp_path: Path, roles: str) -> None:
    env = {**ENV, "DATADISTILLER_DATABASE_URL": database_url, "DATADISTILLER_DATA_DIR": str(tmp_path)}
    env |= {"DATADISTILLER_PORT": "0"}
    with (tmp_path / "log").open("wb") as log:
        parent = launched(
            [sys.executable, "-c", ORPHAN, roles], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        assert parent.stdout is not None and parent.stdin is not None
        child = int(parent.stdout.readline())
    try:
        await until(lambda: "started" in (tmp_path / "log").read_text())
        parent.kill()
        parent.wait()
        await until(lambda: gone(child))
    finally:
        parent.stdout.close()
        with suppress(BrokenPipeError):
            parent.stdin.close()
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    assert "supervisor_died" in (tmp_path / "log").read_text()


async def test_a_database_server_that_dies_is_started_again(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")
    await server.start()
    try:
        async with await Running(tmp_path, postgres=server)():
            first = server.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await until(lambda: server.pid not in (None, first) and server.alive())
    finally:
        await server.stop()


def test_log_files_are_bounded(tmp_path: Path) -> None:
    logs = LogFiles(tmp_path, max_bytes=100)
    out = logs.open("child")
    try:
        os.write(out, b"a" * 200)
        logs.turn_over()
        os.write(out, b"b" * 50)  # the child goes on writing to the file it has open
        logs.turn_over()
    finally:
        os.close(out)
    assert logs.path("child").read_bytes() == b"b" * 50
    assert (tmp_path / "child.log.1").read_bytes() == b"a" * 200


def test_a_process_is_only_itself() -> None:
    mark = process.birth_mark(os.getpid())
    assert mark == process.birth_mark(os.getpid())
    assert mark != process.birth_mark(1)
    argv = psutil.Process().cmdline()
    assert process.is_same(os.getpid(), str(mark), argv)
    assert not process.is_same(os.getpid(), "another start", argv)
    assert not process.is_same(os.getpid(), str(mark), [*argv, "--more"])
    assert process.birth_mark(2**22 + 1) is None
