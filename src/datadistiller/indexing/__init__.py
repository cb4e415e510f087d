"""The search index port: a disposable replica of the live chunks, for finding their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Entry:
    """One live chunk as it enters the index. ``vector`` is ``float16[dim]``, length 1."""

    chunk_no: int
    chunk_id: UUID
    job_no: int
    vector: NDArray[np.float16]
    context: str
    text: str


@dataclass(frozen=True, slots=True)
class Hits:
    """What was found, best first: ``numbers`` is ``int64[n]`` (chunk numbers), ``scores`` ``float32[n]``.

    Vector scores are cosines, keyword scores BM25.
    """

    numbers: NDArray[np.int64]
    scores: NDArray[np.float32]


class SearchIndex(Protocol):
    """Finds chunk numbers by vector and by keywords.

    Corner cases: a search in an empty index finds nothing; ``allowed`` (sorted ``int64[m]`` of job numbers) restricts
    a search exactly: it returns the best ``limit`` of the allowed chunks, however few there are; an empty ``allowed``
    finds nothing. Questions are plain words: no query syntax, no question is an error. An index that is not there, or
    not all of it, raises ``errors.Unavailable``: it never just finds less. Any number of concurrent searches.
    """

    async def count(self) -> int:
        """Number of chunks that searches see."""
        ...

    async def vector_search(
        self, vector: NDArray[np.float32], limit: int, allowed: NDArray[np.int64] | None = None
    ) -> Hits:
        """The ``limit`` nearest chunks by cosine."""
        ...

    async def keyword_search(self, question: str, limit: int, allowed: NDArray[np.int64] | None = None) -> Hits:
        """The ``limit`` best chunks by BM25 over text and context."""
        ...

    async def close(self) -> None:
        """Releases files, connections and threads; what was committed stays."""
        ...


class IndexWriter(Protocol):
    """Brings chunks into a search index. One follower at a time.

    Corner cases: adding a chunk number that is there replaces it; removing one that is not succeeds; the last word on
    a number counts. An error other than ``errors.CapacityError`` loses what is staged and leaves open what of it is in
    the index: ``lead`` and compare again.
    """

    async def lead(self) -> bool:
        """Called before anything else, and again after an error: once it returns, nothing that was sent to the index
        before, by whomever, changes it any more. False if there is no whole index that searches could use: then it
        must be rebuilt, and nothing may be acknowledged before that."""
        ...

    async def contents(self, first: int = 0, limit: int | None = None) -> dict[int, UUID]:
        """The (chunk number, chunk id) in the index with the lowest numbers from ``first`` on, ``limit`` at most.

        During a rebuild those that need not be built again.
        """
        ...

    async def add(self, entries: Sequence[Entry]) -> None:
        """Adds or replaces chunks; not yet visible, not yet durable."""
        ...

    async def remove(self, chunk_nos: Sequence[int]) -> None:
        """Removes chunks; not yet visible, not yet durable."""
        ...

    async def commit(self) -> None:
        """Makes everything added and removed visible to every later search on every node, and durable enough to be
        reconciled after a crash. With nothing staged it is an idle moment, good for looking after the index.

        Raises ``errors.CapacityError`` if that is too much for now: it stays staged, for another ``commit`` later.
        """
        ...

    async def begin_rebuild(self) -> None:
        """From now on an index is built anew, while searches and commits go on; or one that was left unfinished."""
        ...

    async def build(self) -> None:
        """Puts everything added and removed into the index that is being built; searches may see it from now on or
        from ``end_rebuild`` on. Raises as ``commit``."""
        ...

    async def end_rebuild(self) -> None:
        """Searches use what was built and committed since ``begin_rebuild``."""
        ...


class Index(SearchIndex, IndexWriter, Protocol):
    """Both sides: what an adapter implements."""
