"""A parser process gives up what it does not need, before it sees a document.

What holds where:

- Linux: address space (``RLIMIT_AS``), CPU time, no writing of files, few open files, no core dump, no new
  privileges, death with the parent, first choice of the kernel when memory is short. No network, no other program or
  process, no look into others, if the kernel has ``seccomp`` and ``landlock``: ``confine`` says which it has.
- macOS: the same without ``RLIMIT_AS`` (the kernel ignores it; the sandbox replaces a child that grew, after
  the document), without death by signal (the end of standard input does it) and without what follows that.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from datadistiller.parsing import landlock, seccomp

#: What the kernel of Linux can do more, with the function that asks for it.
KERNEL: Mapping[str, Callable[[], bool]] = MappingProxyType({"landlock": landlock.install, "seccomp": seccomp.install})

_OPEN_FILES = 64
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522
_READ_ANY_FILE = 1 << 2  # CAP_DAC_READ_SEARCH


def confine(memory_mb: int) -> list[str]:
    """Sets the limits of this process; memory is what it may use beyond what it uses now, MiB.

    The names of what else of the kernel confines it: of ``seccomp`` and ``landlock`` those that are there.
    """
    if sys.platform == "linux":
        _die_with_parent()
        with contextlib.suppress(OSError):  # not in every container; the limits below hold without it
            Path("/proc/self/oom_score_adj").write_text("1000")
        allowed = _address_space() + (memory_mb << 20)
        _limit(resource.RLIMIT_AS, allowed)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    if sys.platform != "linux":
        return []
    _drop_capabilities()
    return [name for name, install in KERNEL.items() if install()]


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


def _drop_capabilities() -> None:
    """Of what root may do beyond others only the reading of files stays: what is stored may be another user's.

    A process with more may read the environment of others in spite of Landlock (CAP_PERFMON). Source: capget(2).
    """
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: of the lower 32 and of the upper ones
    if libc.capget(header, sets) == 0:
        kept = (sets[0] & _READ_ANY_FILE, sets[1] & _READ_ANY_FILE, 0, 0, 0, 0)
        libc.capset(header, (ctypes.c_uint32 * 6)(*kept))


def _die_with_parent() -> None:
    """The kernel kills this process when the thread that started it ends, however that happens.

    A parent that died before this call is noticed by the end of standard input.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
