"""A filter of system calls: what a parser never needs, the kernel refuses (Linux on x86_64 and aarch64).

Refused calls fail with EPERM, so a library that merely tries goes on without. No privilege is needed: the process
has given up gaining any (``no_new_privs``). Sources: seccomp(2), ``linux/filter.h``, ``asm/unistd_64.h`` and
``asm-generic/unistd.h`` of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

#: A program of the filter: 8 bytes an instruction.
Instructions = Iterator[bytes]

_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_RETURN_ALLOW, _RETURN_ERROR = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
#: Where the kernel puts the number, the architecture and the low half of the first argument (little endian).
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_CLONE_THREAD = 0x10000
#: Numbers from here on are calls of x32, which the tables below do not name.
_X32 = 0x40000000
#: Its flags are in memory, where no filter can look: the C library does without it and calls ``clone``.
_CLONE3 = 435
#: The same everywhere: pidfds, io_uring (opens sockets), mounts the new way, memory of other processes.
_NEWER = (*range(424, 435), 438, 440, 442, 448)


@dataclass(frozen=True, slots=True)
class _Machine:
    """What one kind of processor calls what: audit architecture and numbers of calls."""

    architecture: int
    seccomp: int
    clone: int
    refused: Iterable[int]
    own_only: Mapping[int, bool]  # calls on a process: on this one only; True: 0 stands for it too
    x32: bool = False


_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        seccomp=317,
        clone=56,
        refused=(
            *(*range(41, 56), 288, 299, 307),  # sockets of every family, and all that is done with them
            *(57, 58, 59, 322),  # fork, vfork, execve, execveat
            *(101, 310, 311, 312, 129, 297, 323),  # ptrace, process_vm_*, kcmp, signals with data, userfaultfd
            *(155, 161, 165, 166, 272, 308, 304),  # pivot_root, chroot, mounts, unshare, setns, open_by_handle_at
            *(248, 249, 250, 298, 321, 103),  # keys, perf_event_open, bpf, the kernel's log
            *(175, 176, 313, 246, 320, 169, 167, 168, 163, 179),  # modules, kexec, reboot, swap, acct, quotas
            *(159, 164, 227, 305, 170, 171, 172, 173, 154, 135),  # clocks, names, ports, modify_ldt, personality
        ),
        own_only={62: False, 200: False, 234: False, 302: True},  # kill, tkill, tgkill, prlimit64
        x32=True,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        seccomp=277,
        clone=220,
        refused=(
            *(*range(198, 213), 242, 243, 269),
            *(221, 281),
            *(117, 270, 271, 272, 138, 240, 282),
            *(41, 51, 40, 39, 97, 268, 265),
            *(217, 218, 219, 241, 280, 116),
            *(105, 106, 273, 104, 294, 142, 224, 225, 89, 60),
            *(171, 170, 112, 266, 161, 162, 92),
        ),
        own_only={129: False, 130: False, 131: False, 261: True},
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install() -> bool:
    """Filters the calls of all threads of this process, for good. False if this system or processor has no filter."""
    machine = _MACHINES.get(platform.machine())
    if machine is None or struct.calcsize("P") != 8:
        return False
    code = b"".join(_program(machine, os.getpid()))
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None)
    return bool(libc.syscall(machine.seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program)) == 0)


def _program(machine: _Machine, pid: int) -> Instructions:
    yield _instruction(_LOAD, _ARCHITECTURE)
    yield from _unless(_JUMP_EQUAL, machine.architecture, errno.EPERM)
    yield _instruction(_LOAD, _NUMBER)
    if machine.x32:
        yield _instruction(_JUMP_AT_LEAST, _X32, 0, 1)
        yield _refusal(errno.EPERM)
    for number in (*machine.refused, *_NEWER):
        yield _instruction(_JUMP_EQUAL, number, 0, 1)
        yield _refusal(errno.EPERM)
    yield _instruction(_JUMP_EQUAL, _CLONE3, 0, 1)
    yield _refusal(errno.ENOSYS)
    yield from _if_argument(machine.clone, _instruction(_JUMP_BITS, _CLONE_THREAD, 1, 0))
    for number, zero_too in machine.own_only.items():
        tests = [_instruction(_JUMP_EQUAL, pid, 1, 0)]
        if zero_too:
            tests.insert(0, _instruction(_JUMP_EQUAL, 0, 2, 0))
        yield from _if_argument(number, *tests)
    yield _instruction(_RETURN, _RETURN_ALLOW)


def _if_argument(number: int, *tests: bytes) -> Instructions:
    """Allows a call if its first argument passes: a test that succeeds jumps over the refusal."""
    yield _instruction(_JUMP_EQUAL, number, 0, len(tests) + 3)
    yield _instruction(_LOAD, _FIRST_ARGUMENT)
    yield from tests
    yield _refusal(errno.EPERM)
    yield _instruction(_RETURN, _RETURN_ALLOW)


def _unless(jump: int, value: int, error: int) -> Instructions:
    yield _instruction(jump, value, 1, 0)
    yield _refusal(error)


def _refusal(error: int) -> bytes:
    return _instruction(_RETURN, _RETURN_ERROR | error)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
