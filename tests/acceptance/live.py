"""Running systems, driven over HTTP and by the command line: one machine, and a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster import Cluster

ROOT = Path(__file__).parents[2]
PATIENCE = 180  # seconds: a machine that runs the tests may be busy


def environment(**more: str) -> dict[str, str]:
    """No settings of the person who runs the tests, and this very code."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DATADISTILLER_")}
    state = str(Path(tempfile.gettempdir()) / "datadistiller-tests")  # what 'ingest' notes
    return {**inherited, "XDG_STATE_HOME": state, "PYTHONPATH": str(ROOT / "src"), **more}


def run(*words: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """One command of the command line, to its end."""
    argv = [sys.executable, "-m", "datadistiller", *words]
    return subprocess.run(
        argv, cwd=cwd, env=environment(**more), capture_output=True, text=True, check=False, timeout=PATIENCE
    )


class System(ABC):
    """A running system, whatever it is made of."""

    url: str

    @abstractmethod
    def embedders(self) -> list[psutil.Process]:
        """Its embedding workers."""

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command, on this system."""
        return run(*words, DATADISTILLER_URL=self.url)

    def answer(self, *words: str) -> Any:
        """What a command that succeeds prints as JSON."""
        done = self.cli(*words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


class Distributed(System):
    """Kafka, MinIO, OpenSearch, PostgreSQL, and a process for each role."""

    def __init__(self, cluster: Cluster) -> None:
        self.url = cluster.url
        self._cluster = cluster

    def embedders(self) -> list[psutil.Process]:
        """Its embedding workers."""
        return [psutil.Process(self._cluster.processes[name].pid) for name in self._cluster.of_role("embed")]


class Up(System):
    """A running ``datadistiller up`` and what it has printed."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}-{time.monotonic_ns()}.txt"
        argv = [sys.executable, "-m", "datadistiller", "up", "--data-dir", str(folder), "--port", "0"]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                argv, cwd=folder.parent, env=environment(**more), stdout=out, stderr=out, start_new_session=True
            )
        self.url = self._wait_for(r"is running at (http://\S+)")

    @property
    def printed(self) -> str:
        """All of it."""
        return self.log.read_text(encoding="utf-8")

    def embedders(self) -> list[psutil.Process]:
        """Its embedding workers."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in family if process.cmdline()[-2:] == ["--roles", "embed"]]

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)

    def _wait_for(self, pattern: str) -> str:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = re.search(pattern, self.printed)
            if found:
                return found[1]
            assert self.process.poll() is None, self.printed
            time.sleep(0.1)
        pytest.fail(f"not running after {PATIENCE} s:\n{self.printed}")


def note(folder: Path, name: str, text: str) -> Path:
    """A text file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
