"""A parser process gives up what it does not need, before it sees a document.

What holds where:

- Linux: address space (``RLIMIT_AS``), CPU time, no writing of files, few open files, no core dump, no new
  privileges, death with the parent, first choice of the kernel when memory is short.
- macOS: the same without ``RLIMIT_AS`` (the kernel ignores it; the sandbox replaces a child that grew, after
  the document), without death by signal (the end of standard input does it) and without the last two.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
import sys
from pathlib import Path

_OPEN_FILES = 64
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def confine(memory_mb: int) -> None:
    """Sets the limits of this process; memory is what it may use beyond what it uses now, MiB."""
    if sys.platform == "linux":
        _die_with_parent()
        with contextlib.suppress(OSError):  # not in every container; the limits below hold without it
            Path("/proc/self/oom_score_adj").write_text("1000")
        allowed = _address_space() + (memory_mb << 20)
        _limit(resource.RLIMIT_AS, allowed)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)


def allow_cpu(seconds: float) -> None:
    """Gives this process that much more CPU time; beyond it the kernel ends it with SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def memory_bytes() -> int:
    """Resident memory of this process; on systems without /proc the most it ever was."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _die_with_parent() -> None:
    """The kernel kills this process when the thread that started it ends, however that happens.

    A parent that died before this call is noticed by the end of standard input.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
