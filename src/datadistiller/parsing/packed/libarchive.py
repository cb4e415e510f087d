"""libarchive of the system (BSD licence), as much of it as reading takes; only its readers of 7-Zip and RAR are set.

A binding of our own: those that are published look for the library by starting programs, which a parser must not.
Source: libarchive's archive.h and archive_entry.h, which keep these functions since version 3.4.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datadistiller import errors
from datadistiller.parsing import limits

_NAMES = ("libarchive.so.13",) if sys.platform == "linux" else ("libarchive.13.dylib", "/usr/lib/libarchive.2.dylib")
_READERS = ("7zip", "rar", "rar5")
_END, _OK, _WARN = 1, 0, -20
_REGULAR_FILE, _KIND = 0o100000, 0o170000
_BLOCK = 64 << 10

_POINTER, _TEXT, _INT, _INT64 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int64
_SIGNATURES = {
    "read_new": (_POINTER,),
    "read_free": (_INT, _POINTER),
    **{f"read_support_format_{reader}": (_INT, _POINTER) for reader in _READERS},
    "read_open_filename": (_INT, _POINTER, _TEXT, ctypes.c_size_t),
    "read_next_header": (_INT, _POINTER, ctypes.POINTER(_POINTER)),
    "read_data": (ctypes.c_ssize_t, _POINTER, _POINTER, ctypes.c_size_t),
    "read_has_encrypted_entries": (_INT, _POINTER),
    "entry_pathname_utf8": (_TEXT, _POINTER),
    "entry_pathname": (_TEXT, _POINTER),
    "entry_filetype": (ctypes.c_uint, _POINTER),
    "entry_size": (_INT64, _POINTER),
    "entry_size_is_set": (_INT, _POINTER),
    "entry_is_data_encrypted": (_INT, _POINTER),
}


class Damage(Exception):
    """The library cannot read on."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the archive says of a member."""

    path: str
    size: int | None  # bytes, None if it is not said
    folder: bool
    regular: bool
    encrypted: bool


@cache
def _library() -> ctypes.CDLL | None:
    """The library with the types of its functions, None where it is not installed or too old."""
    for name in _NAMES:
        try:
            library = ctypes.CDLL(name)
            for function, (result, *arguments) in _SIGNATURES.items():
                found = getattr(library, f"archive_{function}")
                found.restype, found.argtypes = result, arguments
        except (OSError, AttributeError):
            continue
        return library
    return None


def installed() -> bool:
    """Whether archives can be read here."""
    return _library() is not None


class Archive:
    """An open archive, read from front to back. What it expands to is counted, read or passed over."""

    def __init__(self, library: ctypes.CDLL, handle: int, allowed: int) -> None:
        self._library = library
        self._handle = handle
        self._left = allowed
        self._buffer = ctypes.create_string_buffer(limits.PIECE_BYTES)

    def entries(self) -> Iterator[Entry]:
        """The members. Raises ``Damage``, and ``errors.LimitExceeded`` also for what is passed over."""
        entry = _POINTER()
        while (status := self._library.archive_read_next_header(self._handle, ctypes.byref(entry))) != _END:
            if status not in (_OK, _WARN):
                raise Damage
            found = self._entry(entry)
            yield found
            if not found.encrypted:
                self._pass_over()

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the member that was given last, as far as they were not read yet.

        Raises ``errors.DamagedDocument``, ``LimitExceeded``.
        """
        while size := self._library.archive_read_data(self._handle, self._buffer, limits.PIECE_BYTES):
            if size < 0:
                raise errors.DamagedDocument("The file is damaged, or packed in a way that is not known here.")
            self._left -= size
            if self._left < 0:
                raise errors.LimitExceeded(
                    "What follows was not read: the archive expands to more than it may.",
                    hint="Unpack it, and upload what is in it.",
                )
            yield self._buffer.raw[:size]

    def _pass_over(self) -> None:
        """Counts the rest of a member: members are packed together, those that nobody wants are expanded too."""
        try:
            for _ in self.pieces():
                pass
        except errors.DamagedDocument:
            return  # the next header tells whether that was all

    def encrypted(self) -> bool:
        """True if a member, or the list of them, is known to be."""
        return bool(self._library.archive_read_has_encrypted_entries(self._handle) > 0)

    def _entry(self, entry: ctypes.c_void_p) -> Entry:
        library = self._library
        path = library.archive_entry_pathname_utf8(entry) or library.archive_entry_pathname(entry) or b""
        kind = library.archive_entry_filetype(entry) & _KIND
        size = library.archive_entry_size(entry) if library.archive_entry_size_is_set(entry) else None
        return Entry(
            path.decode("utf-8", "replace"), size, kind == 0o040000, kind == _REGULAR_FILE,
            bool(library.archive_entry_is_data_encrypted(entry)),
        )  # fmt: skip


@contextmanager
def opened(path: Path, allowed: int) -> Iterator[Archive]:
    """The archive, which may expand to ``allowed`` bytes. Raises ``errors.UnsupportedType`` without the library."""
    library = _library()
    if library is None:
        raise errors.UnsupportedType(
            "7-Zip and RAR archives are read where libarchive is installed, and here it is not.",
            hint="Install it (Debian, Ubuntu: libarchive13) and upload the archive again, or unpack it first.",
        )
    handle = library.archive_read_new()
    if not handle:
        raise MemoryError
    try:
        for reader in _READERS:
            getattr(library, f"archive_read_support_format_{reader}")(handle)
        if library.archive_read_open_filename(handle, bytes(path), _BLOCK) != _OK:
            raise Damage
        yield Archive(library, handle, allowed)
    finally:
        library.archive_read_free(handle)
