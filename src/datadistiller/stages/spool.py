"""Files on their way from a parser to the object store: each waits until all of it has come, then is stored."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator

from datadistiller import objects

#: Up to this size a file waits in memory, then in a temporary file, bytes.
IN_MEMORY = 1 << 20
#: Files of one document stored at the same time; as many wait in memory, or in temporary files.
AT_ONCE = 8


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


class Storing:
    """Stores several files at a time: most of the time of each is waiting for the disk, or for the store."""

    def __init__(self, store: objects.ObjectStore) -> None:
        self._store = store
        self._running: dict[asyncio.Task[None], Spool] = {}

    async def add(self, key: str, spool: Spool) -> None:
        """Begins to store a file, and closes it at the end. Waits while others are under way; raises what those met."""
        self._running[asyncio.create_task(self._put(key, spool))] = spool
        if len(self._running) >= AT_ONCE:
            await self._wait(asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        """Waits until all are safe. Raises what storing one of them met."""
        while self._running:
            await self._wait(asyncio.ALL_COMPLETED)

    async def stop(self) -> None:
        """Gives up those under way; what is left of them is nothing, or an object under its key."""
        running, self._running = self._running, {}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for spool in running.values():  # a task that had not begun did not close it
            spool.close()

    async def _wait(self, until: str) -> None:
        done, _ = await asyncio.wait(self._running, return_when=until)
        for task in done:
            del self._running[task]
        met = [error for task in done if (error := task.exception()) is not None]
        if met:
            raise met[0]

    async def _put(self, key: str, spool: Spool) -> None:
        try:
            await self._store.put(key, spool.content())
        finally:
            spool.close()
