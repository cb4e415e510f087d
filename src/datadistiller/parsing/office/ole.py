"""OLE containers (Office 97-2003, Outlook), read within limits through ``olefile``."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import olefile

from datadistiller import errors
from datadistiller.parsing import decoding, limits, passwords

#: Of the set of properties: how many are looked at, and the types and numbers of those that are read.
_PROPERTIES = 64
_CODE_PAGE, _TITLE = 1, 2
_NARROW, _WIDE = 30, 31
_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class Container:
    """An OLE file of hostile origin. Names are matched without regard to case."""

    def __init__(self, path: Path, what: str, password: str | None = None) -> None:
        self._what = what
        data = path.read_bytes()
        if not data.startswith(_MAGIC):
            raise errors.DamagedDocument(f"The file is damaged or cut off, or it is no {what}.")
        if password is not None:
            data = passwords.office(data, what, password)
        with self._reading():
            # Incorrect sizes and the like are read around; what cannot be is an error that ``_reading`` translates.
            self._ole = olefile.OleFileIO(io.BytesIO(data), raise_defects=olefile.DEFECT_FATAL)
            paths: Sequence[Sequence[str]] = self._ole.listdir(streams=True, storages=True)
        if len(paths) > limits.MAX_OLE_ENTRIES:
            raise errors.LimitExceeded(f"The {what} has more than {limits.MAX_OLE_ENTRIES:,} parts.")
        self._taken = 0
        self._children: dict[str, dict[str, None]] = {}
        for *folder, name in paths:
            self._children.setdefault("/".join(folder).lower(), {})[name] = None
        if self.has("EncryptedPackage"):
            raise passwords.locked(what)

    def close(self) -> None:
        """Closes the file."""
        self._ole.close()

    def has(self, *name: str) -> bool:
        """True if there is such a stream or storage; ``name`` is its path."""
        return bool(self._ole.exists(list(name)))

    def children(self, *storage: str) -> list[str]:
        """The names directly in a storage, each once."""
        return list(self._children.get("/".join(storage).lower(), ()))

    def read(self, *name: str) -> bytes:
        """A stream; empty if there is none. Raises ``errors.DamagedDocument``, ``LimitExceeded``."""
        if not self.has(*name) or self._ole.get_type(list(name)) != olefile.STGTY_STREAM:
            return b""
        self._taken += int(self._ole.get_size(list(name)))
        if self._taken > limits.MAX_OLE_BYTES:
            raise errors.LimitExceeded(f"The {self._what} holds more than {limits.MAX_OLE_BYTES >> 20:,} MiB.")
        with self._reading(), self._ole.openstream(list(name)) as stream:
            return bytes(stream.read())

    def title(self) -> str:
        """The title in the document's properties, empty if there is none."""
        try:
            data = self.read("\x05SummaryInformation")
        except errors.DamagedDocument:
            return ""  # the text is what counts
        section = u32(data, 44)
        entries = range(section + 8, section + 8 + 8 * min(u32(data, section + 4), _PROPERTIES), 8)
        places = {u32(data, entry): section + u32(data, entry + 4) for entry in entries}
        page, at = places.get(_CODE_PAGE), places.get(_TITLE)
        if at is None or u16(data, at) not in (_NARROW, _WIDE):
            return ""
        wide = u16(data, at) == _WIDE
        raw = data[at + 8 : at + 8 + min(u32(data, at + 4), 2000) * (2 if wide else 1)]
        number = u16(data, page + 4) if page is not None else 0
        text = raw.decode("utf-16-le", "replace") if wide else decoding.decode(raw, f"cp{number}")
        return " ".join(text.replace("\0", " ").split())[:300]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Errors of the library, which has no type of its own for most of them, count as damage."""
        try:
            yield
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, struct.error) as error:
            raise errors.DamagedDocument(f"The {self._what} is damaged or cut off.") from error


def u16(data: bytes, at: int) -> int:
    """The unsigned 16-bit number there, little endian; 0 beyond the end."""
    return int.from_bytes(data[at : at + 2], "little") if at >= 0 else 0


def u32(data: bytes, at: int) -> int:
    """The unsigned 32-bit number there, little endian; 0 beyond the end."""
    return int.from_bytes(data[at : at + 4], "little") if at >= 0 else 0
