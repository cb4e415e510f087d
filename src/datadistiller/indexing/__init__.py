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

    Corner cases: adding a chunk number that is there replaces it; removing one that is not succeeds; a
    search in an empty index finds nothing; ``allowed`` (sorted ``int64[m]`` of job numbers) restricts a
    search exactly: it returns the best ``limit`` of the allowed chunks, however few there are; an empty
    ``allowed`` finds nothing. Questions are plain words: no query syntax, no question is an error.
    Changes are seen by searches after ``commit`` returns. One writer; any number of concurrent searches.
    """

    @property
    def entries(self) -> int:
        """Number of chunks that searches see."""
        ...

    async def add(self, entries: Sequence[Entry]) -> None:
        """Adds or replaces chunks; not yet visible, not yet durable."""
        ...

    async def remove(self, chunk_nos: Sequence[int]) -> None:
        """Removes chunks; not yet visible, not yet durable."""
        ...

    async def commit(self) -> None:
        """Makes everything added and removed visible to every later search, and durable enough to be
        reconciled after a crash."""
        ...

    async def contents(self) -> dict[int, UUID]:
        """All (chunk number, chunk id) in the index, for reconciling with PostgreSQL."""
        ...

    async def clear(self) -> None:
        """Empties the index."""
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
        """Releases files and threads; what was committed stays."""
        ...
