"""What both adapters do alike, through obstore: read, list, delete."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from typing import ParamSpec, TypeVar

import obstore.store

from datadistiller import errors
from datadistiller.objects import StoredObject, check_key

READ_BYTES = 256 << 10

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Reading(ABC):
    """The half of ``objects.ObjectStore`` that does not depend on where the objects are."""

    def __init__(self, store: obstore.store.ObjectStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="objects")

    @abstractmethod
    def _translated(self, done: str) -> AbstractContextManager[None]:
        """Errors of the store become ours; ``done`` completes "the file could not be ..."."""

    @abstractmethod
    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """See ``objects.ObjectStore``."""

    async def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """See ``objects.ObjectStore``."""
        check_key(key)
        with self._translated("read"):
            if end is not None:
                found = await self._store.get_async(key, options={"range": (start, end)})
            else:
                found = await self._store.get_async(key, options={"range": {"offset": start}} if start else None)
            async for piece in found.stream(READ_BYTES):
                yield piece

    async def size(self, key: str) -> int:
        """See ``objects.ObjectStore``."""
        check_key(key)
        with self._translated("read"):
            return (await self._store.head_async(key))["size"]

    async def delete(self, key: str) -> None:
        """See ``objects.ObjectStore``."""
        check_key(key)
        with self._translated("deleted"), suppress(FileNotFoundError):
            await self._store.delete_async(key)

    async def delete_prefix(self, prefix: str) -> int:
        """See ``objects.ObjectStore``."""
        check_key(prefix.rstrip("/"))
        removed = 0
        async for found in self.list(prefix):
            await self.delete(found.key)
            removed += 1
        return removed

    async def replace_missing(self, key: str, spare: str) -> None:
        """See ``objects.ObjectStore``."""
        try:
            await self.size(key)
        except errors.ObjectMissing:
            await self.put(key, self.get(spare))
        await self.delete(spare)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """See ``objects.ObjectStore``."""
        with self._translated("listed"):
            async for batch in self._store.list(prefix, chunk_size=1000):
                for found in batch:
                    yield StoredObject(found["path"], found["size"], found["last_modified"])

    async def close(self) -> None:
        """See ``objects.ObjectStore``."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    async def _in_thread(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Runs blocking work. If cancelled it still waits: a thread cannot be stopped, and what follows would race."""
        done = asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.wait([done])
            if not done.cancelled():
                done.exception()  # taken, so that nobody reports it as lost
            raise
