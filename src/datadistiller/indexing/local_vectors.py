"""Vectors in memory: immutable segments, which of their rows are live, and the search over them. No I/O.

A *segment* never changes once it is made: a small flat block of new rows, or a sealed HNSW graph. What changes
is the tuple of *parts* (segment and live rows), and each change makes a new tuple: whoever searches an old one
sees a consistent state without a lock. Both kinds keep their vectors as float16 inside FAISS (IndexScalarQuantizer),
so every segment can be scanned exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import faiss as typed_faiss
import numpy as np
from numpy.typing import NDArray

from datadistiller.indexing import Hits

#: FAISS's type information leaves out what its Python wrapper adds, so it is used without.
faiss: Any = typed_faiss

#: Rows of a flat block. Small, because the last block is copied by each commit.
BLOCK_ROWS = 2048
#: So many full blocks become one larger one, because each costs a search some 50 microseconds.
JOINED_BLOCKS = 8
#: Below this many wanted rows a sealed segment is scanned: exact, and a graph under a selective filter finds too few.
EXACT_ROWS = 10_000
#: Job numbers from the first to the last allowed one, up to which a table of them is made, one byte each.
MAX_SPAN = 50_000_000
#: Neighbours of a row in the graph, and the candidates kept while building it and while searching.
#: Measured by benchmarks/index.py: recall@10 of at least 0.98 needs about half of EF_SEARCH on hard, clustered data.
GRAPH_NEIGHBOURS = 32
EF_BUILD = 64
EF_SEARCH = 192

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What is known of each row besides its vector. All arrays have one length."""

    numbers: NDArray[np.int64]  # chunk numbers
    jobs: NDArray[np.int64]  # job numbers
    stamps: NDArray[np.int64]  # one per row ever written, ascending in time; pairs it with its keyword document
    ids: NDArray[np.uint8]  # uint8[n, 16]: chunk ids

    def take(self, rows: NDArray[np.int64] | Mask) -> Columns:
        """The rows chosen by index or mask."""
        return Columns(self.numbers[rows], self.jobs[rows], self.stamps[rows], self.ids[rows])

    @staticmethod
    def join(many: Sequence[Columns]) -> Columns:
        """One after the other."""
        return Columns(
            np.concatenate([one.numbers for one in many]),
            np.concatenate([one.jobs for one in many]),
            np.concatenate([one.stamps for one in many]),
            np.concatenate([one.ids for one in many]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows with their vectors, ``codes`` being ``float16[n, dim]``."""

    columns: Columns
    codes: NDArray[np.float16]

    def take(self, rows: NDArray[np.int64] | Mask) -> Batch:
        """The rows chosen by index or mask."""
        return Batch(self.columns.take(rows), self.codes[rows])

    @staticmethod
    def join(many: Sequence[Batch]) -> Batch:
        """One after the other."""
        return Batch(Columns.join([one.columns for one in many]), np.concatenate([one.codes for one in many]))

    def __len__(self) -> int:
        return len(self.columns.numbers)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Rows that never change. ``graph`` is None for a flat block; ``name`` is that of its files, if sealed."""

    columns: Columns
    storage: Any  # faiss.IndexScalarQuantizer: the float16 vectors
    graph: Any  # faiss.IndexHNSWSQ, the owner of `storage`
    name: str
    low: int  # range of the chunk numbers, and the largest stamp: most lookups end here
    high: int
    newest: int

    def __len__(self) -> int:
        return len(self.columns.numbers)

    @property
    def codes(self) -> NDArray[np.float16]:
        """The vectors, as a view of FAISS's memory: valid as long as the segment."""
        raw = faiss.rev_swig_ptr(self.storage.codes.data(), len(self) * self.storage.code_size)
        codes: NDArray[np.float16] = raw.view(np.float16).reshape(len(self), -1)
        return codes


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A segment and which of its rows count (``live`` None: all of them)."""

    segment: Segment
    live: Mask | None = None

    @property
    def entries(self) -> int:
        """Number of live rows."""
        return len(self.segment) if self.live is None else int(np.count_nonzero(self.live))

    @property
    def sealed(self) -> bool:
        """True if the segment has files of its own."""
        return self.segment.graph is not None

    def rows(self) -> Batch:
        """A copy of the live rows."""
        everything = Batch(self.segment.columns, self.segment.codes)
        return everything.take(np.ones(len(self.segment), dtype=bool) if self.live is None else self.live)

    def without(self, dead: Mask) -> Part:
        """The same part with some rows gone."""
        return replace(self, live=~dead if self.live is None else self.live & ~dead)

    def live_columns(self) -> Columns:
        """The columns of the live rows."""
        return self.segment.columns if self.live is None else self.segment.columns.take(self.live)


Parts = tuple[Part, ...]


class Allowed:
    """The jobs a search is restricted to, ready to be compared with many rows."""

    def __init__(self, jobs: NDArray[np.int64]) -> None:
        """``jobs``: sorted ``int64[m]``."""
        self._jobs = jobs
        self._first = int(jobs[0]) - 1 if len(jobs) else 0
        span = int(jobs[-1]) - self._first if len(jobs) else 0
        # A table is four times as fast as a search in the sorted numbers; its first and last place catch the others.
        self._table = np.zeros(span + 2, dtype=bool) if span <= MAX_SPAN else None
        if self._table is not None:
            self._table[jobs - self._first] = True

    def mask(self, jobs: NDArray[np.int64]) -> Mask:
        """Which of the rows with these job numbers are allowed."""
        if self._table is None:
            return np.isin(jobs, self._jobs)
        return self._table[np.clip(jobs - self._first, 0, len(self._table) - 1)]


NO_LONGS = np.empty(0, dtype=np.int64)
NO_COLUMNS = Columns(NO_LONGS, NO_LONGS, NO_LONGS, np.empty((0, 16), dtype=np.uint8))


def single_thread() -> None:
    """Makes FAISS use one thread in the calling thread: OpenMP keeps this number per thread."""
    faiss.omp_set_num_threads(1)


def make_segment(columns: Columns, storage: Any, graph: Any = None, name: str = "") -> Segment:
    """A segment of at least one row."""
    numbers = columns.numbers
    return Segment(columns, storage, graph, name, int(numbers.min()), int(numbers.max()), int(columns.stamps.max()))


def flat(batch: Batch) -> Segment:
    """A flat block; its codes are copied into FAISS."""
    storage = faiss.IndexScalarQuantizer(
        batch.codes.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    storage.add_sa_codes(np.ascontiguousarray(batch.codes).view(np.uint8))
    return make_segment(batch.columns, storage)


def append(parts: Parts, batch: Batch, block_rows: int = BLOCK_ROWS) -> Parts:
    """The parts with new rows: the last block is filled up, further ones are begun."""
    if not len(batch):
        return parts
    if parts and not parts[-1].sealed and len(parts[-1].segment) < block_rows:
        batch = Batch.join([parts[-1].rows(), batch])
        parts = parts[:-1]
    blocks = (np.arange(at, min(at + block_rows, len(batch))) for at in range(0, len(batch), block_rows))
    return (*parts, *(Part(flat(batch.take(rows))) for rows in blocks))


def joined(parts: Parts, block_rows: int = BLOCK_ROWS) -> Parts:
    """The parts with the full blocks made one, if there are enough of them. The last part still grows."""
    small = [part for part in parts[:-1] if not part.sealed and len(part.segment) <= block_rows]
    if len(small) < JOINED_BLOCKS:
        return parts
    kept = tuple(part for part in parts[:-1] if part.sealed or len(part.segment) > block_rows)
    return (*kept, Part(flat(Batch.join([part.rows() for part in small]))), parts[-1])


def find(parts: Parts, numbers: NDArray[np.int64]) -> Columns:
    """The columns of the live rows that hold these chunk numbers."""
    found = [NO_COLUMNS]
    if len(numbers):
        low, high = numbers.min(), numbers.max()
        for part in parts:
            if part.segment.low <= high and part.segment.high >= low:
                columns = part.live_columns()
                found.append(columns.take(np.isin(columns.numbers, numbers)))
    return Columns.join(found)


def live_columns(parts: Parts) -> Columns:
    """The columns of all live rows."""
    return Columns.join([NO_COLUMNS, *(part.live_columns() for part in parts)])


def lowest(numbers: NDArray[np.int64], first: int, limit: int | None) -> NDArray[np.int64]:
    """The rows with the lowest numbers from ``first`` on, in no order."""
    rows = np.flatnonzero(numbers >= first)
    if limit is None or len(rows) <= limit:
        return rows
    return rows[np.argpartition(numbers[rows], limit)[:limit]]


def kill(parts: Parts, stamps: NDArray[np.int64]) -> Parts:
    """The parts without the rows of these stamps; a flat block that has no live row left is dropped."""
    if not len(stamps):
        return parts
    oldest = stamps.min()
    kept = []
    for part in parts:
        if part.segment.newest >= oldest:
            dead = np.isin(part.segment.columns.stamps, stamps)
            if dead.any():
                part = part.without(dead)
        if part.sealed or part.entries:
            kept.append(part)
    return tuple(kept)


def entries(parts: Parts) -> int:
    """Number of live rows."""
    return sum(part.entries for part in parts)


def share(parts: Parts, allowed: NDArray[np.int64]) -> float:
    """Which part of the live rows belongs to these jobs, 0 to 1."""
    inside = Allowed(allowed)
    wanted = sum(int(np.count_nonzero(inside.mask(part.live_columns().jobs))) for part in parts)
    return wanted / max(1, entries(parts))


def search(parts: Parts, vector: NDArray[np.float32], limit: int, allowed: NDArray[np.int64] | None) -> Hits:
    """The ``limit`` live rows nearest to the vector, of the allowed jobs only; equal scores by chunk number."""
    query = np.ascontiguousarray(vector, dtype=np.float32).reshape(1, -1)
    inside = None if allowed is None else Allowed(allowed)
    found = [_search_part(part, query, limit, inside) for part in parts] if limit > 0 else []
    numbers = np.concatenate([NO_LONGS, *(numbers for numbers, _ in found)])
    scores = np.concatenate([np.empty(0, dtype=np.float32), *(scores for _, scores in found)])
    best = np.lexsort((numbers, -scores))[:limit]
    return Hits(numbers[best], scores[best])


def _search_part(
    part: Part, query: NDArray[np.float32], limit: int, allowed: Allowed | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    segment = part.segment
    mask = part.live
    if allowed is not None:
        inside = allowed.mask(segment.columns.jobs)
        mask = inside if mask is None else mask & inside
    wanted = len(segment) if mask is None else int(np.count_nonzero(mask))
    if not wanted:
        return NO_LONGS, np.empty(0, dtype=np.float32)
    limit = min(limit, wanted)
    selector = None
    if mask is not None and wanted < len(segment):
        selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
    if segment.graph is not None and wanted >= EXACT_ROWS:
        # The rarer the wanted rows, the more candidates the walk through the graph must keep.
        candidates = max(EF_SEARCH, 2 * limit) * min(8.0, len(segment) / wanted)
        scores, rows = segment.graph.search(
            query, limit, params=faiss.SearchParametersHNSW(efSearch=int(candidates), sel=selector)
        )
        if (rows >= 0).all():
            return segment.columns.numbers[rows[0]], scores[0]
    scores, rows = segment.storage.search(query, limit, params=faiss.SearchParameters(sel=selector))
    return segment.columns.numbers[rows[0]], scores[0]
