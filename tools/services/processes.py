"""A server's process: started, recorded with the proof of its identity, signalled with all that is below it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGSTOP, Signals
from typing import Any

import psutil

from datadistiller.runtime.process import birth_mark

_POLL = 0.05  # seconds
_KILL_SECONDS = 10.0  # a killed process may be in the middle of a disk operation


@dataclass(slots=True)
class ServerProcess:
    """One process. ``mark`` proves that ``pid`` is still the one that was started, and not a stranger."""

    pid: int
    mark: str
    child: subprocess.Popen[bytes] | None = field(default=None, repr=False)  # None: started by another process

    def alive(self) -> bool:
        """True while that very process runs, paused or not."""
        if self.child is not None and self.child.poll() is not None:
            return False
        try:
            return birth_mark(self.pid) == self.mark and _works(psutil.Process(self.pid))
        except psutil.Error:
            return False

    def send(self, number: Signals) -> None:
        """Signals this process only."""
        if self.alive():
            with contextlib.suppress(psutil.Error):
                psutil.Process(self.pid).send_signal(number)

    def send_all(self, number: Signals) -> None:
        """Signals this process and all below it. First it is stopped, so that it starts no others meanwhile."""
        if not self.alive():
            return
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            process.send_signal(SIGSTOP)
            for each in (*process.children(recursive=True), process):
                with contextlib.suppress(psutil.Error):
                    each.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to all of it; returns when they are gone."""
        family = self._family()
        self.send_all(SIGKILL)
        self.wait(_KILL_SECONDS)
        until = time.monotonic() + _KILL_SECONDS
        while any(process.is_running() and _works(process) for process in family) and time.monotonic() < until:
            time.sleep(_POLL)
        if self.child is not None:
            self.child.poll()

    def wait(self, seconds: float) -> bool:
        """True if it is gone within that time."""
        until = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > until:
                return False
            time.sleep(_POLL)
        return True

    def memory(self) -> int:
        """Bytes of this process and all below it; shared pages count once over all where the system knows."""
        total = 0
        for process in self._family():
            with contextlib.suppress(psutil.Error):
                used = process.memory_full_info()
                total += getattr(used, "pss", used.uss)
        return total

    def seconds(self) -> float:
        """How long it has been running."""
        try:
            return max(0.0, time.time() - float(psutil.Process(self.pid).create_time()))
        except psutil.Error:
            return 0.0

    def _family(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)] if self.alive() else []
        except psutil.Error:
            return []


def _works(process: psutil.Process) -> bool:
    """True unless it is gone, or a zombie without threads: that one holds no file and no port any more."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.Error:
        return False


def spawn(argv: Sequence[str], folder: Path, log: Path, options: Mapping[str, Any]) -> ServerProcess:
    """Starts a program that appends to ``log``, in a session of its own: Ctrl-C in the terminal does not reach it."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **options
        )
    # One that ended at once is a zombie until poll(), so there is a mark.
    return ServerProcess(child.pid, birth_mark(child.pid) or "", child)
