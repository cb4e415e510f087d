"""A live system for the failure tests: real processes, real PostgreSQL, real index, in a temporary folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.harness import Server


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Starts systems with the settings given; all are stopped and removed at the end."""
    scratch = Path(tempfile.mkdtemp(prefix="dd-failure-"))
    scratch.chmod(0o755)
    started: list[Server] = []

    def start(**settings: object) -> Server:
        server = Server(scratch / f"data-{len(started)}", **settings)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()
        server.http.close()
    shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """A fresh system with a short grace for the sweeper."""
    return start_server(sweep_grace_seconds=3)
