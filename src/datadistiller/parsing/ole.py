"""OLE containers (Office 97-2003, Outlook), read within limits through ``olefile``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import olefile

from datadistiller import errors
from datadistiller.parsing import limits

_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class Container:
    """An OLE file of hostile origin. Names are matched without regard to case."""

    def __init__(self, path: Path, what: str) -> None:
        self._what = what
        with path.open("rb") as file:
            if file.read(8) != _MAGIC:
                raise errors.DamagedDocument(f"The file is damaged or cut off, or it is no {what}.")
        with self._reading():
            # Incorrect sizes and the like are read around; what cannot be is an error that ``_reading`` translates.
            self._ole = olefile.OleFileIO(str(path), raise_defects=olefile.DEFECT_FATAL)
        self._taken = 0
        if len(self._ole.direntries) > limits.MAX_OLE_ENTRIES:
            raise errors.LimitExceeded(f"The {what} has more than {limits.MAX_OLE_ENTRIES:,} parts.")
        if self.has("EncryptedPackage"):
            raise errors.EncryptedDocument(f"The {what} is protected by a password.")

    def close(self) -> None:
        """Closes the file."""
        self._ole.close()

    def has(self, *name: str) -> bool:
        """True if there is such a stream or storage; ``name`` is its path."""
        return bool(self._ole.exists(list(name)))

    def children(self, *storage: str) -> list[str]:
        """The names directly in a storage, each once."""
        depth = len(storage)
        wanted = [part.lower() for part in storage]
        with self._reading():
            paths: Sequence[Sequence[str]] = self._ole.listdir(streams=True, storages=True)
        found = [p[depth] for p in paths if len(p) > depth and [part.lower() for part in p[:depth]] == wanted]
        return list(dict.fromkeys(found))

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
            with self._reading():
                properties = (
                    self._ole.getproperties("\x05SummaryInformation", no_conversion=[10])
                    if self.has("\x05SummaryInformation")
                    else {}
                )
        except errors.DamagedDocument:
            return ""  # the text is what counts
        raw = properties.get(2)
        page = properties.get(1)
        if not isinstance(raw, bytes):
            return " ".join(raw.split())[:300] if isinstance(raw, str) else ""
        encoding = f"cp{page & 0xFFFF}" if isinstance(page, int) and page & 0xFFFF != 65001 else "utf-8"
        try:
            text = raw.decode(encoding, "replace")
        except LookupError:
            text = raw.decode("cp1252", "replace")
        return " ".join(text.replace("\0", " ").split())[:300]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Errors of the library, which has no type of its own for most of them, count as damage."""
        try:
            yield
        except (OSError, ValueError, IndexError, TypeError, AttributeError, KeyError, OverflowError) as error:
            raise errors.DamagedDocument(f"The {self._what} is damaged or cut off.") from error


def u16(data: bytes, at: int) -> int:
    """The unsigned 16-bit number there, little endian; 0 beyond the end."""
    return int.from_bytes(data[at : at + 2], "little") if at >= 0 else 0


def u32(data: bytes, at: int) -> int:
    """The unsigned 32-bit number there, little endian; 0 beyond the end."""
    return int.from_bytes(data[at : at + 4], "little") if at >= 0 else 0
