"""The embedded search index: FAISS for vectors and tantivy for keywords, in this process, on this disk.

One thread writes. Searches run in a small pool, each on the view that was committed last when it came: they never
wait for a commit, nor for a segment being sealed. The folder may be lost or damaged at any time; what cannot be used
is dropped when it is opened, and the follower brings it again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import UUID

import numpy as np
import structlog
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.indexing import Entry, Hits
from datadistiller.indexing import local_keywords as keywords
from datadistiller.indexing import local_sealing as sealing
from datadistiller.indexing import local_vectors as vectors
from datadistiller.indexing.local_store import LocalStore, View

#: Searches that run at once, and that may wait for their turn.
SEARCH_THREADS = 2
MAX_WAITING = 256
#: Rest after a segment could not be built, seconds: the next try would fail as well.
BUILD_REST = 60.0

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)


class LocalIndex:
    """Implements ``Index`` in a folder that it owns alone.

    The folder is opened by the first call that needs it (``open`` does only that); until then searches find
    nothing. Writing calls raise ``errors.StoreUnavailable`` when the disk fails and ``errors.SetupError`` when the
    folder cannot be used; what was staged is then lost, so that ``contents`` must be compared again. Searches raise
    ``errors.Overloaded`` when too many wait.
    """

    def __init__(self, folder: Path, dim: int, fingerprint: str, hnsw_threshold: int = 50_000) -> None:
        self._folder = folder
        self._dim = dim
        self._fingerprint = fingerprint
        self._threshold = hnsw_threshold
        self._view = View()
        self._store: LocalStore | None = None
        self._staged: dict[int, Entry | None] = {}
        self._rebuilding = False
        self._writer = ThreadPoolExecutor(1, "index-writer", initializer=vectors.single_thread)
        self._readers = ThreadPoolExecutor(SEARCH_THREADS, "index-search", initializer=vectors.single_thread)
        self._waiting = 0
        self._builder: threading.Thread | None = None
        self._build_after = 0.0  # on the monotonic clock, seconds
        self._stopping = threading.Event()

    async def open(self) -> None:
        """Opens the folder. Raises ``errors.SetupError`` if it cannot be used."""
        await self._write(self._opened)

    async def lead(self) -> bool:
        """True: the folder's lock keeps every other writer out, and what is missing here shows in ``contents``."""
        self._rebuilding = False
        return True

    async def count(self) -> int:
        """Number of chunks that searches see."""
        return vectors.entries(self._view.parts)

    async def add(self, entries: Sequence[Entry]) -> None:
        """Keeps the chunks in memory until ``commit``."""
        self._staged.update((entry.chunk_no, entry) for entry in entries)

    async def remove(self, chunk_nos: Sequence[int]) -> None:
        """Keeps the numbers in memory until ``commit``."""
        self._staged.update((int(number), None) for number in chunk_nos)

    async def commit(self) -> None:
        """Writes what is staged to both halves. With nothing staged it is the moment to mend and merge."""
        staged, self._staged = self._staged, {}
        await self._write(self._commit, staged)

    async def contents(self, first: int = 0, limit: int | None = None) -> dict[int, UUID]:
        """The chunks that are in both halves."""
        return {} if self._rebuilding else await self._write(self._contents, first, limit)

    async def begin_rebuild(self) -> None:
        """Has every chunk replaced in its place: a second index would double the memory."""
        self._rebuilding = True

    async def build(self) -> None:
        """The same as ``commit``."""
        await self.commit()

    async def end_rebuild(self) -> None:
        """What is here now counts again."""
        self._rebuilding = False

    async def vector_search(
        self, vector: NDArray[np.float32], limit: int, allowed: NDArray[np.int64] | None = None
    ) -> Hits:
        """The nearest chunks; exact below ``vectors.EXACT_ROWS`` rows of a segment, else of recall 0.98 or better."""
        return await self._read(vectors.search, self._view.parts, vector, limit, allowed)

    async def keyword_search(self, question: str, limit: int, allowed: NDArray[np.int64] | None = None) -> Hits:
        """The best chunks by BM25; a question of stop words only is searched as it is."""
        return await self._read(_keyword_search, self._view, question, limit, allowed)

    async def settle(self) -> None:
        """Waits until no segment is being sealed or merged."""
        while (builder := self._builder) is not None:
            await asyncio.to_thread(builder.join)
            await self._write(lambda: None)  # what it built is adopted

    async def close(self) -> None:
        """Stops the threads and lets go of the folder; a segment being built is given up. Again is harmless."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        await asyncio.to_thread(self._close)

    # The rest runs in the writer's thread, except where it says so.

    def _opened(self) -> LocalStore:
        if self._store is None:
            self._store = LocalStore(self._folder, self._dim, self._fingerprint, self._threshold)
            self._view = self._store.view
        return self._store

    def _contents(self, first: int, limit: int | None) -> dict[int, UUID]:
        columns = vectors.live_columns(self._opened().view.parts)
        if first or limit is not None:
            columns = columns.take(vectors.lowest(columns.numbers, first, limit))
        ids = columns.ids.tobytes()
        return {number: UUID(bytes=ids[16 * i : 16 * i + 16]) for i, number in enumerate(columns.numbers.tolist())}

    def _commit(self, staged: Mapping[int, Entry | None]) -> None:
        store = self._opened()
        if staged:
            entries = [entry for entry in staged.values() if entry is not None]
            removed = [number for number, entry in staged.items() if entry is None]
            self._change(lambda: store.commit(entries, removed))
        if self._builder is None:
            self._change(store.tidy)
            self._begin_build(store, idle=not staged)

    def _change(self, change: Callable[[], None]) -> None:
        """Runs a change of the store and shows its new view. A store that failed is closed: opening repairs it."""
        store = self._opened()
        try:
            change()
        except errors.BrokenInvariant:
            raise  # found before anything was written
        except Exception as error:
            self._store = None
            store.close()
            if isinstance(error, errors.DataDistillerError):
                raise
            raise errors.StoreUnavailable(f"The search index could not be written: {error}") from error
        self._view = store.view

    def _begin_build(self, store: LocalStore, *, idle: bool) -> None:
        if self._stopping.is_set() or time.monotonic() < self._build_after:
            return
        if sources := store.plan(idle=idle):
            self._builder = threading.Thread(
                target=self._build, args=(store, sources), name="index-builder", daemon=True
            )
            self._builder.start()

    def _build(self, store: LocalStore, sources: vectors.Parts) -> None:
        """Runs in the builder's thread."""
        try:
            built = sealing.build(sources, self._folder, self._stopping)
        except Exception as error:
            log.warning("index_build_failed", error=type(error).__name__, reason=str(error), again_in=BUILD_REST)
            self._build_after = time.monotonic() + BUILD_REST
            self._builder = None
            return
        if not self._stopping.is_set():
            self._writer.submit(self._adopt, store, sources, built)

    def _adopt(self, store: LocalStore, sources: vectors.Parts, built: sealing.Sealed | None) -> None:
        try:
            if self._store is store:  # it was not opened again meanwhile
                self._change(lambda: store.adopt(sources, built))
        except errors.DataDistillerError as error:
            log.warning("index_build_failed", error=type(error).__name__, reason=str(error), again_in=BUILD_REST)
            self._build_after = time.monotonic() + BUILD_REST
        finally:
            self._builder = None

    def _close(self) -> None:
        """Runs in a thread of its own: it waits for all others."""
        self._writer.submit(lambda: None).result()  # a build that was about to begin has begun
        if self._builder is not None:
            self._builder.join()
        self._writer.submit(self._close_store).result()
        self._writer.shutdown()
        self._readers.shutdown()

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    async def _write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        future: Future[T] = self._writer.submit(function, *args, **kwargs)
        return await asyncio.wrap_future(future)

    async def _read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._waiting >= SEARCH_THREADS + MAX_WAITING:
            raise errors.Overloaded("Too many searches are waiting.", retry_after=1.0)
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._readers.submit(function, *args, **kwargs))
        finally:
            self._waiting -= 1


def _keyword_search(view: View, question: str, limit: int, allowed: NDArray[np.int64] | None) -> Hits:
    if view.keywords is None or limit <= 0:
        return Hits(vectors.NO_LONGS, np.empty(0, dtype=np.float32))
    share = 1.0 if allowed is None else vectors.share(view.parts, allowed)
    with keywords.translated("searching"):
        return view.keywords.search(question, limit, allowed, share)
