"""Which processes a supervisor started, on disk, so that the next one can stop what a killed one left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from datadistiller.runtime import process

#: How long a killed process may take to disappear (it may be in the middle of a disk operation), seconds.
KILL_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """A started process and the proof of its identity."""

    name: str
    pid: int
    mark: str  # process.birth_mark
    argv: list[str]

    @property
    def alive(self) -> bool:
        """True if that very process still runs."""
        return process.is_same(self.pid, self.mark, self.argv)


class Registry:
    """A folder with one small JSON file for each running child."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(self, name: str, pid: int, argv: list[str]) -> None:
        """Remembers a child. A child that is gone already is not remembered."""
        mark = process.birth_mark(pid)
        if mark is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f".{name}.json"
        part.write_text(json.dumps({"pid": pid, "mark": mark, "argv": argv}))
        part.replace(self._folder / f"{name}.json")

    def forget(self, name: str) -> None:
        """Forgets a child that has ended."""
        (self._folder / f"{name}.json").unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """What is recorded; a file that cannot be read counts for nothing."""
        found = []
        for path in sorted(self._folder.glob("[!.]*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                data = json.loads(path.read_text())
                found.append(Entry(path.stem, int(data["pid"]), str(data["mark"]), list(data["argv"])))
        return found

    async def stop_leftovers(self, grace_seconds: float) -> list[str]:
        """Stops recorded processes that still run, first kindly; returns their names. Strangers are not touched."""
        left = [entry for entry in self.entries() if entry.alive]
        for entry in left:
            structlog.get_logger().warning("stopping_leftover", process=entry.name, pid=entry.pid)
            send(entry.pid, signal.SIGTERM)
        await _until_gone(left, grace_seconds)
        for entry in left:
            if entry.alive:
                send_group(entry.pid, signal.SIGKILL)
        await _until_gone(left, KILL_SECONDS)
        for path in self._folder.glob("*.json"):
            path.unlink(missing_ok=True)
        return [entry.name for entry in left]


async def _until_gone(left: list[Entry], seconds: float) -> None:
    until = time.monotonic() + seconds
    for entry in left:
        # Not our children: nobody tells us when they end.
        while entry.alive and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal to one process; one that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def send_group(pid: int, number: signal.Signals) -> None:
    """Sends a signal to the process group that ``pid`` leads or led; an empty one is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
