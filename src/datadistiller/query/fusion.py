"""Pure: two lists of hits become one.

A chunk's score is a convex combination of its cosine to the question (as it is, negative ones count as 0) and its
BM25 score as a share of the best one of this question. Neither part depends on how deep the lists were fetched,
and the cosine keeps its absolute meaning: where the embedder is unsure (another language, rare names) all cosines
are low and close together and the keywords decide. Measured against min-max, z-scores and reciprocal ranks on
twelve test collections by ``python -m benchmarks.retrieval``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datadistiller.indexing import Hits
from datadistiller.model import Mode

#: Share of the cosine in the score; chosen on scifact_train, med and time.
VECTOR_WEIGHT = 0.75

NO_HITS = Hits(np.zeros(0, np.int64), np.zeros(0, np.float32))


@dataclass(frozen=True, slots=True)
class Fused:
    """What was found by either search, best first, each chunk once; equal scores are in order of chunk number.

    ``numbers`` is ``int64[n]``, ``scores`` ``float64[n]``, ``similarities`` ``float64[n]``: the cosine, NaN where
    only the keyword search found the chunk.
    """

    numbers: NDArray[np.int64]
    scores: NDArray[np.float64]
    similarities: NDArray[np.float64]


def fuse(vector: Hits, keyword: Hits, mode: Mode = Mode.HYBRID) -> Fused:
    """One list out of two, whatever order they are in. ``mode`` says which scores count."""
    numbers = np.union1d(vector.numbers, keyword.numbers).astype(np.int64)
    cosines = _spread(numbers, vector)
    bm25 = np.nan_to_num(_spread(numbers, keyword), nan=0.0)
    if mode is Mode.VECTOR:
        scores = np.nan_to_num(cosines, nan=-1.0)
    elif mode is Mode.KEYWORD:
        scores = bm25
    else:
        scores = VECTOR_WEIGHT * _semantic(cosines) + (1 - VECTOR_WEIGHT) * _lexical(bm25)
    order = np.lexsort((numbers, -scores))
    return Fused(numbers[order], scores[order], cosines[order])


def _spread(numbers: NDArray[np.int64], hits: Hits) -> NDArray[np.float64]:
    """The scores of the hits at the places of their numbers, NaN elsewhere; of a repeated number the best."""
    spread = np.full(len(numbers), np.nan)
    np.fmax.at(spread, np.searchsorted(numbers, hits.numbers), hits.scores.astype(np.float64))
    return spread


def _semantic(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """A chunk below the end of the vector list is given the last cosine there: an upper bound, and close to it."""
    known = cosines[~np.isnan(cosines)]
    last = known.min() if len(known) else 0.0
    return np.clip(np.where(np.isnan(cosines), last, cosines), 0.0, None)


def _lexical(bm25: NDArray[np.float64]) -> NDArray[np.float64]:
    best = bm25.max(initial=0.0)
    return bm25 / best if best > 0 else bm25
