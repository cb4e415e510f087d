"""One file on its way from a parser to the object store: it waits here until all of it has come."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator

#: Up to this size a file waits in memory, then in a temporary file, bytes.
IN_MEMORY = 1 << 20


class Spool:
    """What came of a file so far. ``close`` it in any case."""

    def __init__(self, path: str, media_type: str) -> None:
        self.path = path  # what it is called where it comes from
        self.media_type = media_type
        self.size = 0
        self._digest = hashlib.sha256()
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115

    async def write(self, piece: bytes) -> None:
        """Appends. Raises OSError if the disk for temporary files is full."""
        self._digest.update(piece)
        self.size += len(piece)
        await asyncio.to_thread(self._file.write, piece)

    @property
    def sha256(self) -> str:
        """Of what came, hexadecimal."""
        return self._digest.hexdigest()

    async def content(self) -> AsyncIterator[bytes]:
        """All of it, from the beginning."""
        self._file.seek(0)
        while piece := await asyncio.to_thread(self._file.read, IN_MEMORY):
            yield piece

    def close(self) -> None:
        """Forgets it."""
        self._file.close()
