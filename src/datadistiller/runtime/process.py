"""What a process must know about itself and its relatives: name, parent, priority, memory, proof of identity."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Set by a supervisor for its children: the boot UUID, the supervisor's process id, the name of the process.
BOOT_VARIABLE = "DATADISTILLER_BOOT"
SUPERVISOR_VARIABLE = "DATADISTILLER_SUPERVISOR"
PROCESS_VARIABLE = "DATADISTILLER_PROCESS"

#: sysexits.h: EX_TEMPFAIL, the process cannot prove its leases any more; EX_CONFIG, it cannot start as configured.
EXIT_LEASES_LOST = 75
EXIT_SETUP = 78

#: Heaps that the threads of a process share, see ``few_heaps``; the number that malloc.h gives to the option.
HEAPS = 2
_M_ARENA_MAX = -8

#: Background work yields to queries: nice 10 gets about a tenth of a contended core.
BACKGROUND_NICE = 10


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a process is: ``boot`` is what leases refer to, ``worker_id`` is only its name."""

    boot: uuid.UUID
    worker_id: str
    role: str
    pid: int


def identify(role: str, worker_id: str) -> Identity:
    """The identity of this process; its supervisor, if any, has chosen the boot UUID."""
    given = os.environ.get(BOOT_VARIABLE)
    return Identity(uuid.UUID(given) if given else uuid.uuid4(), worker_id, role, os.getpid())


def supervisor_pid() -> int | None:
    """The supervisor that started this process; None if it was started by hand or by an orchestrator."""
    given = os.environ.get(SUPERVISOR_VARIABLE)
    return int(given) if given else None


def orphaned(supervisor: int | None) -> bool:
    """True if this process had a supervisor and it is gone: another process has become the parent."""
    return supervisor is not None and os.getppid() != supervisor


def lower_priority() -> None:
    """Makes this process and its later children yield to others. It cannot be taken back."""
    if hasattr(os, "setpriority"):
        current = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(current, BACKGROUND_NICE))


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGTERM, SIGINT and SIGHUP (the terminal was closed) set ``stop`` on the running loop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)


def few_heaps() -> None:
    """Keeps glibc from giving each thread a heap of its own, which never shrinks: with a dozen threads, 100 MB.

    Only before the first thread. Other C libraries do no such thing and have no such call (mallopt(3), M_ARENA_MAX).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, HEAPS)


def memory(with_descendants: bool) -> int:
    """Bytes used by this process (and those below it); shared pages count once over all processes (PSS)."""
    me = psutil.Process()
    total = 0
    for process in (me, *(_descendants(me) if with_descendants else ())):
        with contextlib.suppress(psutil.Error):
            used = process.memory_full_info()
            total += getattr(used, "pss", used.uss)  # only Linux knows PSS
    return total


def kill_descendants() -> None:
    """SIGKILL to every process below this one."""
    for process in _descendants(psutil.Process()):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def birth_mark(pid: int) -> str | None:
    """A mark that no other process ever has together with the same pid; None if there is no such process.

    On Linux the start in clock ticks since boot, which a change of the clock does not move.
    """
    stat = Path(f"/proc/{pid}/stat")
    try:
        if stat.exists():
            ticks = stat.read_text().rpartition(")")[2].split()[19]
            return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{ticks}"
        return str(psutil.Process(pid).create_time())
    except (OSError, psutil.Error):
        return None


def is_same(pid: int, mark: str, argv: list[str]) -> bool:
    """True only if ``pid`` is alive and provably the process that was recorded."""
    try:
        process = psutil.Process(pid)
        return birth_mark(pid) == mark and process.cmdline() == argv and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
