"""The object store: the uploaded files, under ``uploads/{job_id}/{safe name}``, on file:// or s3://.

Reading, listing and deleting is one path through obstore. Writing a local file is ours: obstore's LocalStore
does not fsync, hides its leftovers (``name#1``) from listings, so that no sweeper finds them, and was seen
to abort the interpreter after a cancelled upload (0.12).
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
import obstore.store
from obstore import exceptions as obstore_errors

from datadistiller import errors
from datadistiller.objects.names import UPLOADS, job_prefix, object_key, safe_filename

__all__ = ["UPLOADS", "ObjectStore", "StoredObject", "job_prefix", "object_key", "safe_filename"]

#: Bytes gathered before a write or a part: one hop to a thread for most documents.
WRITE_BYTES = 1 << 20
#: S3 takes parts of 5 MiB and more, except the last.
PART_BYTES = 5 << 20
READ_BYTES = 256 << 10

_P = ParamSpec("_P")
_T = TypeVar("_T")
_KEY = re.compile(r"(?!\.\.?(/|$))[^/\0]+(/(?!\.\.?(/|$))[^/\0]+)*")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing shows it. ``modified`` is aware (UTC)."""

    key: str
    size: int  # bytes
    modified: datetime


class ObjectStore:
    """Objects under one URL: ``file:///folder`` (made if it is not there) or ``s3://bucket/prefix``.

    A put is atomic and, for file://, on disk (fsync of file and folders) when it returns; one that fails or is
    cancelled leaves nothing behind. Keys are relative paths with ``/``. A store that does not answer raises
    ``errors.Unavailable``, a full one ``errors.CapacityError``, an absent object ``errors.ObjectMissing``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._folder = _folder_of(url)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="objects")
        with _translated("opened"):
            self._store = _open(url, self._folder)

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Stores the bytes under the key and returns how many. What ``chunks`` raises passes through unchanged."""
        _check_key(key)
        if self._folder is None:
            return await self._put_remote(key, chunks)
        return await self._put_file(self._folder / key, chunks)

    async def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes ``[start, end)`` of the object, in pieces of about 256 KiB; ``end`` None is to its end."""
        _check_key(key)
        with _translated("read"):
            if end is not None:
                found = await self._store.get_async(key, options={"range": (start, end)})
            else:
                found = await self._store.get_async(key, options={"range": {"offset": start}} if start else None)
            async for piece in found.stream(READ_BYTES):
                yield piece

    async def size(self, key: str) -> int:
        """Bytes of the object."""
        _check_key(key)
        with _translated("read"):
            return (await self._store.head_async(key))["size"]

    @asynccontextmanager
    async def local_path(self, key: str) -> AsyncIterator[Path]:
        """The object as a file to read: the stored file itself (never write to it), or a temporary copy."""
        _check_key(key)
        await self.size(key)
        if self._folder is not None:
            yield self._folder / key
            return
        with tempfile.TemporaryDirectory(prefix="datadistiller-") as scratch:
            path = Path(scratch) / key.rpartition("/")[2]
            copy = _Incoming(path, Path(scratch))
            async for piece in self.get(key):
                await self._in_thread(copy.write, piece)
            await self._in_thread(copy.finish)
            yield path

    async def delete_prefix(self, prefix: str) -> int:
        """Removes all objects whose key starts with the prefix (a folder, ending in ``/``); returns how many.

        Nothing there is a success. Also removes the local folder.
        """
        _check_key(prefix.rstrip("/"))
        removed = 0
        async for found in self.list(prefix):
            await self.delete(found.key)
            removed += 1
        if self._folder is not None:
            await self._in_thread(_remove_folder, self._folder / prefix)
        return removed

    async def delete(self, key: str) -> None:
        """Removes one object, and its local folder if that is empty then; one that is not there is a success."""
        _check_key(key)
        with _translated("deleted"), suppress(FileNotFoundError):
            await self._store.delete_async(key)
        if self._folder is not None:
            await self._in_thread(_remove_empty, (self._folder / key).parent)

    async def replace_missing(self, key: str, spare: str) -> None:
        """Gives the object ``key`` the bytes of ``spare`` if it is not there (lost by somebody); ``spare`` goes."""
        try:
            await self.size(key)
        except errors.ObjectMissing:
            await self.put(key, self.get(spare))
        await self.delete(spare)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """All objects under the prefix (a folder), unfinished local uploads included, in no order."""
        with _translated("listed"):
            async for batch in self._store.list(prefix, chunk_size=1000):
                for found in batch:
                    yield StoredObject(found["path"], found["size"], found["last_modified"])

    async def free_bytes(self) -> int | None:
        """Free disk space in bytes; None where the store has no such limit."""
        if self._folder is None:
            return None
        with _translated("measured"):
            return (await self._in_thread(shutil.disk_usage, self._folder)).free

    async def check(self) -> None:
        """Raises ``errors.Unavailable`` if the store does not answer or cannot be written to."""
        if self._folder is not None:
            with _translated("reached"):
                await self._in_thread(_check_folder, self._folder)
            return
        with _translated("reached"):
            async for _ in self._store.list(UPLOADS, chunk_size=1):
                return

    async def close(self) -> None:
        """Ends the threads; operations in flight finish first."""
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    async def _put_file(self, path: Path, chunks: AsyncIterator[bytes]) -> int:
        assert self._folder is not None
        incoming = _Incoming(path, self._folder)
        try:
            async for piece in _gathered(chunks):
                with _translated("written"):
                    await self._in_thread(incoming.write, piece)
            with _translated("written"):
                await self._in_thread(incoming.finish)
        except BaseException:
            await self._in_thread(incoming.discard)
            raise
        return incoming.size

    async def _put_remote(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        source = _Counted(chunks)
        try:
            # Two parts in flight: memory for one upload stays under about 15 MB.
            await self._store.put_async(key, source, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=2)
        except (OSError, obstore_errors.BaseError) as error:
            if error is source.error:
                raise
            with _translated("written"):
                raise
        return source.size

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


class _Incoming:
    """A local file that appears under its name only when it is complete and on disk. Blocking; for threads."""

    def __init__(self, path: Path, root: Path) -> None:
        self.size = 0
        self._path = path
        self._root = root
        self._part = path.with_name(f".incoming-{uuid.uuid4().hex}")
        self._file: int | None = None
        self._lock = threading.Lock()  # a discard after a double cancellation waits for the write it follows

    def write(self, piece: bytes) -> None:
        """Appends; the first call makes the folder and the file."""
        with self._lock:
            self._open()
            assert self._file is not None
            view = memoryview(piece)
            while view:
                view = view[os.write(self._file, view) :]
            self.size += len(piece)

    def finish(self) -> None:
        """Syncs, renames, and syncs the folders up to the root: the name itself must survive a power cut."""
        with self._lock:
            self._open()
            assert self._file is not None
            os.fsync(self._file)
            self._close()
            self._part.replace(self._path)
            folder = self._path.parent
            _sync_folder(folder)
            while folder != self._root:
                folder = folder.parent
                _sync_folder(folder)

    def discard(self) -> None:
        """Removes what was written, under either name, and the folder if it is empty."""
        with self._lock, suppress(OSError):
            self._close()
            self._part.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
            _remove_empty(self._path.parent)

    def _open(self) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _Counted:
    """Counts the bytes that pass, and remembers what the source raised, to tell it from errors of the store."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self.size = 0
        self.error: BaseException | None = None
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await anext(self._chunks)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self.error = error
            raise
        self.size += len(piece)
        return piece


async def _gathered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of about ``WRITE_BYTES``."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= WRITE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _folder_of(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme == "s3" and parts.netloc:
        return None
    raise errors.SetupError(
        f"'{parts.scheme or url[:40]}' is not a known kind of object store.",
        hint="Set DATADISTILLER_OBJECTS_URL to file:///folder or s3://bucket.",
    )


def _open(url: str, folder: Path | None) -> obstore.store.ObjectStore:
    if folder is not None:
        return obstore.store.LocalStore(prefix=folder, mkdir=True)
    # An upload waits for the store: better a 503 after seconds than a connection that hangs for minutes.
    return obstore.store.from_url(
        url,
        client_options={"timeout": timedelta(seconds=60), "connect_timeout": timedelta(seconds=3)},
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
    )


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise errors.BrokenInvariant("An object key must be a relative path without '.' and '..'.")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # not empty, or gone already
        folder.rmdir()


def _remove_folder(folder: Path) -> None:
    with _translated("deleted"), suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "the folder is gone")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "the folder is not writable")


@contextmanager
def _translated(done: str) -> Iterator[None]:
    """Errors of the store become ours; ``done`` completes "the file could not be ...". No path, no credential."""
    try:
        yield
    except FileNotFoundError as error:
        if done in ("read", "deleted"):
            raise errors.ObjectMissing from error
        raise errors.Unavailable("The object store's folder is gone.") from error
    except (OSError, obstore_errors.BaseError) as error:
        if _is_full(error):
            raise errors.CapacityError(
                "The disk of the object store is full: nothing was accepted.",
                retry_after=30,
                hint="Free some space on the disk of the object store, then upload again.",
            ) from error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise errors.Unavailable(f"The object store does not work: a file could not be {done} ({reason}).") from error


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # obstore gives no number, only the text of the operating system's error.
    return "No space left on device" in str(error) or "Disk quota exceeded" in str(error)
