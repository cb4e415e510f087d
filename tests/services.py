"""Real servers for tests: one per session (see ``conftest``), or one of a test's own that it may kill and wipe.

A server that cannot be installed or started here skips the test with the reason; with ``CI`` set it fails it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from datadistiller import errors
from datadistiller.runtime.process import birth_mark
from tools.services.processes import ServerProcess
from tools.services.programs import ServiceError
from tools.services.server import Server

_PREFIX = "dd-services-"
_OWNER = "owner.json"
_S = TypeVar("_S", bound=Server)


def for_session(make: Callable[[Path], _S]) -> Iterator[_S]:
    """What a session-scoped fixture yields from: a server that runs until the session ends."""
    with temporary_folder() as folder:
        server = make(folder / "server")
        with _or_skip():
            asyncio.run(server.start())
        try:
            yield server
        finally:
            asyncio.run(server.stop())


@asynccontextmanager
async def own(make: Callable[[Path], _S]) -> AsyncIterator[_S]:
    """A fresh server for one test."""
    with temporary_folder() as folder:
        server = make(folder / "server")
        with _or_skip():
            await server.start()
        try:
            yield server
        finally:
            await server.stop()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that servers of other accounts can enter; what killed test runs left is cleared away first."""
    sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    folder.chmod(0o755)
    (folder / _OWNER).write_text(json.dumps({"pid": os.getpid(), "mark": birth_mark(os.getpid())}))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Stops the servers of test runs that are gone, and removes their folders."""
    for folder in parent.glob(f"{_PREFIX}*"):
        owner = _recorded(folder / _OWNER)
        if owner is None or owner.alive():
            continue
        for record in folder.glob("*/server.json"):
            left = _recorded(record)
            if left is not None:
                left.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _recorded(path: Path) -> ServerProcess | None:
    try:
        record = json.loads(path.read_text())
        return ServerProcess(int(record["pid"]), str(record["mark"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _or_skip() -> Iterator[None]:
    try:
        yield
    except (ServiceError, errors.SetupError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
