"""What the kernel refuses a parser process: the network, other programs, other processes, all writing. Real calls."""

from __future__ import annotations

import json
import platform
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from datadistiller.parsing import landlock
from datadistiller.runtime.sandbox import Limits, Sandbox
from tests.failure.test_sandbox import HOSTILE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the filters are Linux's")

filtered = pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="no filter for this processor")
landlocked = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")

#: By the call: the error it ends with.
REFUSED = {
    "netlink": "EPERM", "packet": "EPERM", "pair": "EPERM", "program": "EPERM", "exec": "EPERM",
    "fork": "EPERM", "clone3": "ENOSYS", "io_uring": "EPERM", "ptrace": "EPERM", "kill": "EPERM", "limits": "EPERM",
}  # fmt: skip
ALLOWED = ("thread", "own limits", "own signal")


async def outcomes(folder: Path, *calls: list[Any]) -> dict[str, str]:
    """What became of each call, by its name; all are made by one process."""
    path = folder / "plan.json"
    path.write_text(json.dumps({"pages": [["try", *call] for call in calls]}))
    sandbox = Sandbox(Limits(page_seconds=30, parse_seconds=120, memory_mb=192), concurrency=1, command=HOSTILE)
    try:
        document = await sandbox.parse(path, "text/plain")
    finally:
        await sandbox.close()
    return {call[0]: page.text for call, page in zip(calls, document.pages, strict=True)}


@filtered
async def test_the_network_is_refused(tmp_path: Path) -> None:
    """To a server that listens, which this process reaches; without datagrams no name is looked up either."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        port, path = tcp.getsockname()[1], str(tmp_path / "s")
        unix.bind(path)
        unix.listen()
        socket.create_connection(("127.0.0.1", port), 5).close()
        results = await outcomes(tmp_path, ["tcp", port], ["unix", path], ["udp"])
    assert results == dict.fromkeys(results, "EPERM")


@filtered
async def test_other_programs_and_processes_are_refused(tmp_path: Path) -> None:
    """And what a library needs is not."""
    results = await outcomes(tmp_path, *([name] for name in (*REFUSED, *ALLOWED)))
    assert results == REFUSED | dict.fromkeys(ALLOWED, "done")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only there are calls of a second kind")
async def test_calls_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    """Numbers that the tables do not name."""
    assert await outcomes(tmp_path, ["x32"]) == {"x32": "EPERM"}


@landlocked
async def test_files_are_read_only(tmp_path: Path) -> None:
    """Nothing is made, emptied or removed, though the process may by its rights."""
    kept = tmp_path / "kept"
    kept.write_text("as it was")
    results = await outcomes(tmp_path, ["make", str(tmp_path / "new")], ["empty", str(kept)], ["remove", str(kept)])
    assert results == dict.fromkeys(results, "EACCES")
    assert kept.read_text() == "as it was"
    assert not (tmp_path / "new").exists()


@landlocked
async def test_secrets_of_other_processes_are_refused(tmp_path: Path) -> None:
    """The worker has the passwords of its services in its environment and memory."""
    results = await outcomes(tmp_path, ["environment"], ["memory"])
    assert results == dict.fromkeys(results, "EACCES")


@filtered
@landlocked
async def test_the_log_says_once_what_confines(tmp_path: Path) -> None:
    """So that an operator sees what holds on this system."""
    path = tmp_path / "a.txt"
    path.write_text("Of ducks.")
    sandbox = Sandbox(Limits(), concurrency=1)
    with capture_logs() as logs:
        for _ in range(2):
            await sandbox.parse(path, "text/plain")
    await sandbox.close()
    told = [entry for entry in logs if entry["event"] == "parsers_confined"]
    assert [(entry["log_level"], entry["missing"]) for entry in told] == [("info", [])]
