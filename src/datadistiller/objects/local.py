"""Objects in a folder of this machine.

Reading, listing and deleting goes through obstore. Writing is ours: obstore's LocalStore does not fsync, hides its
leftovers (``name#1``) from listings, so that no sweeper finds them, and was seen to abort the interpreter after a
cancelled upload (0.12).
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from datetime import datetime
from pathlib import Path

import obstore.store
from obstore import exceptions as obstore_errors

from datadistiller import errors
from datadistiller.objects import check_key
from datadistiller.objects.reading import Reading

#: Bytes gathered before a write: one hop to a thread for most documents.
WRITE_BYTES = 1 << 20


class LocalObjects(Reading):
    """``objects.ObjectStore`` on a folder, which is made if it is not there.

    When a put returns the object is on disk: fsync of the file and of the folders up to the root.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with _translated("opened"):
            super().__init__(obstore.store.LocalStore(prefix=folder, mkdir=True))

    def _translated(self, done: str) -> AbstractContextManager[None]:
        return _translated(done)

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """See ``objects.ObjectStore``."""
        check_key(key)
        incoming = Incoming(self._folder / key, self._folder)
        waiting: list[bytes] = []
        size = 0
        try:
            async for chunk in chunks:
                waiting.append(chunk)
                size += len(chunk)
                if size >= WRITE_BYTES:
                    with _translated("written"):
                        await self._in_thread(incoming.write, b"".join(waiting))
                    waiting, size = [], 0
            with _translated("written"):
                await self._in_thread(incoming.finish, b"".join(waiting))
        except BaseException:
            await self._in_thread(incoming.discard)
            raise
        return incoming.size

    @asynccontextmanager
    async def local_path(self, key: str) -> AsyncIterator[Path]:
        """The stored file itself."""
        await self.size(key)
        yield self._folder / key

    async def link(self, key: str, seconds: int, media_type: str, disposition: str) -> str | None:
        """None: a folder serves nobody."""
        return None

    async def delete(self, key: str) -> None:
        """Also removes the folder it was in, if that is empty then."""
        await super().delete(key)
        await self._in_thread(_remove_empty, (self._folder / key).parent)

    async def delete_prefix(self, prefix: str) -> int:
        """Also removes the folder."""
        removed = await super().delete_prefix(prefix)
        await self._in_thread(_remove_folder, self._folder / prefix)
        return removed

    async def abort_unfinished(self, before: datetime) -> int:
        """None: unfinished files are in the listing."""
        return 0

    async def free_bytes(self) -> int | None:
        """Of the disk the folder is on."""
        with _translated("measured"):
            return (await self._in_thread(shutil.disk_usage, self._folder)).free

    async def check(self) -> None:
        """The folder is there and can be written to."""
        with _translated("reached"):
            await self._in_thread(_check_folder, self._folder)


class Incoming:
    """A file that appears under its name only when it is complete and on disk. Blocking; for threads."""

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
            self._append(piece)

    def finish(self, rest: bytes = b"") -> None:
        """Appends the rest, syncs, renames, and syncs the folders up to the root: the name must survive a power cut."""
        with self._lock:
            os.fsync(self._append(rest))
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

    def _append(self, piece: bytes) -> int:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        view = memoryview(piece)
        while view:
            view = view[os.write(self._file, view) :]
        self.size += len(piece)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


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
