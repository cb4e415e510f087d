"""The heart of a process: what it believes, and when it gives up. Real threads, a pulse without a database."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from datadistiller.runtime import heartbeat, process


class Pulse:
    """Beats as long as it is told to succeed."""

    def __init__(self) -> None:
        self.counts = True
        self.beats = threading.Semaphore(0)
        self.memory: list[int] = []
        self.closed = False

    def beat(self, memory_bytes: int) -> bool:
        self.memory.append(memory_bytes)
        self.beats.release()
        return self.counts

    def close(self) -> None:
        self.closed = True


def heart(pulse: Pulse, timeout: float, on_orphaned: Callable[[], object] = int, **more: int) -> heartbeat.Heart:
    return heartbeat.Heart(
        pulse, seconds=0.01, timeout=timeout, vital=False, supervisor=more.get("supervisor"), on_orphaned=on_orphaned
    )


def test_beats_with_the_memory_of_the_process() -> None:
    pulse = Pulse()
    beating = heart(pulse, timeout=60)
    beating.start()
    for _ in range(3):
        assert pulse.beats.acquire(timeout=5)
    assert beating.alive()
    beating.stop()
    assert pulse.closed
    assert 1_000_000 < pulse.memory[0] < 10_000_000_000


def test_beats_that_do_not_count_prove_nothing() -> None:
    pulse = Pulse()
    pulse.counts = False
    beating = heart(pulse, timeout=0.05)
    beating.start()
    for _ in range(20):
        assert pulse.beats.acquire(timeout=5)
    assert not beating.alive()
    pulse.counts = True
    while not beating.alive():
        assert pulse.beats.acquire(timeout=5)
    beating.stop()


def test_an_orphan_is_told_once() -> None:
    told = threading.Semaphore(0)
    beating = heart(Pulse(), 60, told.release, supervisor=process.supervisor_pid() or 2**22)
    beating.start()
    assert told.acquire(timeout=5)
    assert not told.acquire(timeout=3 * heartbeat.CHECK_SECONDS)
    beating.stop()


BLOCKED = """
import subprocess, sys, time
from datadistiller.runtime import heartbeat
class Blocked:
    def beat(self, memory): time.sleep(60)
    def close(self): pass
heart = heartbeat.Heart(Blocked(), seconds=0.1, timeout=0.5, vital=True, supervisor=None, on_orphaned=int)
print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
heart.start()
while True:
    sum(range(1000))  # the main thread never rests
"""


def test_a_process_whose_heartbeat_hangs_ends_itself_and_its_children() -> None:
    source = str(Path(heartbeat.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], env={"PYTHONPATH": source}, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == process.EXIT_LEASES_LOST
    child = int(done.stdout.split()[0])
    for _ in range(200):  # a killed process takes a moment to go
        if _gone(child):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {child} outlived its parent")


LATE = """
import time
from datadistiller.runtime import heartbeat
heartbeat.CHECK_SECONDS = 60  # the watching thread is slow to wake after the freeze
class Late:
    def beat(self, memory): time.sleep(1); return True
    def close(self): pass
heart = heartbeat.Heart(Late(), seconds=0.1, timeout=0.5, vital=True, supervisor=None, on_orphaned=int)
heart.start()
time.sleep(30)
"""


def test_a_late_beat_does_not_revive_a_process() -> None:
    source = str(Path(heartbeat.__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", LATE], env={"PYTHONPATH": source}, timeout=20, check=False)
    assert done.returncode == process.EXIT_LEASES_LOST


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
