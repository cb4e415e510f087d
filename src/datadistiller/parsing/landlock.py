"""Landlock: files are read only, and what belongs to other processes stays theirs (Linux 5.13 and later).

A process in a domain of its own may not trace others nor read their memory or environment in ``/proc``, whoever it
runs as; that needs no rule. What may be read is not narrowed: a process is kept for many documents, whose files it
is not told in advance, and a rule cannot be added later. Sources: landlock(7), ``linux/landlock.h``.
"""

from __future__ import annotations

import ctypes
import os
import struct

#: The same numbers on all architectures.
_CREATE, _RESTRICT = 444, 446
_VERSION_ONLY = 1
#: WRITE_FILE, REMOVE_DIR, REMOVE_FILE, and MAKE_ of each kind of file.
_WRITING = 1 << 1 | sum(1 << bit for bit in range(4, 13))
#: By the version of the interface that has it: REFER (moving between folders), TRUNCATE.
_LATER = {2: 1 << 13, 3: 1 << 14}
_TCP_VERSION, _BIND_AND_CONNECT = 4, 0b11
_SCOPE_VERSION, _SOCKETS_AND_SIGNALS = 6, 0b11


def version() -> int:
    """The version of the interface that this kernel has; 0: none."""
    return max(0, int(ctypes.CDLL(None).syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_ONLY)))


def install() -> bool:
    """Forbids all writing, whatever the file's own rights say. False if the kernel cannot.

    It holds for this thread and those that it starts: call it before there are others.
    """
    known = version()
    if not known:
        return False
    attributes = [_WRITING | sum(bit for since, bit in _LATER.items() if known >= since)]
    if known >= _TCP_VERSION:
        attributes.append(_BIND_AND_CONNECT)
    if known >= _SCOPE_VERSION:
        attributes.append(_SOCKETS_AND_SIGNALS)
    packed = struct.pack(f"={len(attributes)}Q", *attributes)
    libc = ctypes.CDLL(None)
    rules = int(libc.syscall(_CREATE, packed, ctypes.c_size_t(len(packed)), 0))
    if rules < 0:
        return False
    try:
        return bool(libc.syscall(_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)
