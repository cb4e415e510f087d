"""Finds the passages that match a question: both searches at once, fused, hydrated from PostgreSQL.

The index only gives numbers. Text, page and document come from PostgreSQL, which drops what is deleted or not
searchable yet; if that leaves too few, the searches look deeper, so that such chunks never crowd out good ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadistiller.embedding import Embedder
from datadistiller.indexing import Hits, SearchIndex
from datadistiller.model import Mode, Passage
from datadistiller.query import fusion, words
from datadistiller.store.chunks import Chunks

#: How many hits each search gives at first: fewer cost quality (nDCG -.006 at 50), more bring none.
DEPTH = 100
#: Where looking deeper ends.
MAX_DEPTH = 3200
#: Passages looked up beyond those asked for, so that a few dropped ones cost no second round trip.
SPARE = 8


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The passages found, best first, and how long each step took: embed, vector, keyword, fuse, hydrate."""

    passages: Sequence[Passage]
    timings_ms: Mapping[str, float]


@dataclass(slots=True)
class _Inquiry:
    """One question on its way."""

    question: str
    top_k: int
    mode: Mode
    allowed: NDArray[np.int64] | None = None
    vector: NDArray[np.float32] | None = None  # once embedded
    seen: dict[int, Passage | None] = field(default_factory=dict)  # looked up so far; None: not to be shown
    looks: int = 0  # that what was seen took
    timings: dict[str, float] = field(default_factory=dict)


@contextmanager
def timed(timings: dict[str, float], name: str) -> Iterator[None]:
    """Adds the milliseconds spent inside to ``timings[name]``."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        timings[name] = timings.get(name, 0.0) + 1000 * (time.perf_counter() - begun)


@dataclass(frozen=True, slots=True)
class Search:
    """Answers a question with passages. Raises what its parts raise: ``errors.Unavailable``, ``InvalidRequest``."""

    index: SearchIndex
    chunks: Chunks
    embedder: Embedder

    async def search(
        self,
        question: str,
        top_k: int = 5,
        mode: Mode = Mode.HYBRID,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> SearchResult:
        """The best ``top_k`` passages, fewer only if there are no more; any text is a valid question.

        ``score`` is the fused score (the cosine or BM25 in the other modes), ``similarity`` the cosine where known.
        """
        inquiry = _Inquiry(question, top_k, mode)
        passages = await self._inquire(inquiry, collection, filter)
        # A document may have got a new version after the index was asked: its chunks of before are gone, and the index
        # did not have all of the new ones yet. It has them now.
        dropped = [number for number, passage in inquiry.seen.items() if passage is None]
        if dropped and await self.chunks.any_gone(dropped):
            inquiry.seen, inquiry.looks = {}, 0
            passages = await self._inquire(inquiry, collection, filter)
        return SearchResult(passages, inquiry.timings)

    async def _inquire(
        self, inquiry: _Inquiry, collection: str | None, filter: Mapping[str, Any] | None
    ) -> Sequence[Passage]:
        """Asks the index, and deeper if too few of the chunks found may be shown."""
        inquiry.allowed, top_k = await self.chunks.allowed_jobs(collection, filter), inquiry.top_k
        if inquiry.allowed is not None and not len(inquiry.allowed):
            return ()
        depth = max(DEPTH, 2 * top_k)
        while True:
            found, more = await self._candidates(inquiry, depth)
            passages = await self._hydrate(inquiry, found)
            if len(passages) >= top_k or not more or depth >= MAX_DEPTH:
                return passages
            depth *= 2

    async def _candidates(self, inquiry: _Inquiry, depth: int) -> tuple[fusion.Fused, bool]:
        """The fused hits of both searches, and whether looking deeper could find more."""
        vector, keyword = await asyncio.gather(self._by_vector(inquiry, depth), self._by_keywords(inquiry, depth))
        with timed(inquiry.timings, "fuse"):
            found = fusion.fuse(vector, keyword, inquiry.mode)
        return found, max(len(vector.numbers), len(keyword.numbers)) >= depth

    async def _by_vector(self, inquiry: _Inquiry, depth: int) -> Hits:
        """Embeds the question the first time, in a thread: the keyword search runs meanwhile."""
        if inquiry.mode is Mode.KEYWORD:
            return fusion.NO_HITS
        if inquiry.vector is None:
            with timed(inquiry.timings, "embed"):
                inquiry.vector = await asyncio.to_thread(self.embedder.embed_question, inquiry.question)
        with timed(inquiry.timings, "vector"):
            return await self.index.vector_search(inquiry.vector, depth, inquiry.allowed)

    async def _by_keywords(self, inquiry: _Inquiry, depth: int) -> Hits:
        if inquiry.mode is Mode.VECTOR:
            return fusion.NO_HITS
        with timed(inquiry.timings, "keyword"):
            return await self.index.keyword_search(words.keywords(inquiry.question), depth, inquiry.allowed)

    async def _hydrate(self, inquiry: _Inquiry, found: fusion.Fused) -> list[Passage]:
        """The first ``top_k`` of the chunks found that may be shown, with their scores.

        If that took several looks, a document may have got a new version between them, so that what was seen is of
        two versions, or of none: all of it is looked up again in one.
        """
        passages = await self._choose(inquiry, found)
        while inquiry.looks > 1:
            before = inquiry.seen
            inquiry.seen, inquiry.looks = {}, 0
            await self._look_up(inquiry, list(before))
            if inquiry.seen != before:
                passages = await self._choose(inquiry, found)
        return passages

    async def _choose(self, inquiry: _Inquiry, found: fusion.Fused) -> list[Passage]:
        passages: list[Passage] = []
        at = 0
        while len(passages) < inquiry.top_k and at < len(found.numbers):
            end = at + max(inquiry.top_k + SPARE, at)
            numbers = [int(n) for n in found.numbers[at:end]]
            await self._look_up(inquiry, numbers)
            for place, number in enumerate(numbers, at):
                passage = inquiry.seen[number]
                if passage is not None:
                    cosine = float(found.similarities[place])
                    known = None if np.isnan(cosine) else cosine
                    passages.append(replace(passage, score=float(found.scores[place]), similarity=known))
            at = end
        return passages[: inquiry.top_k]

    async def _look_up(self, inquiry: _Inquiry, numbers: Sequence[int]) -> None:
        unknown = [number for number in numbers if number not in inquiry.seen]
        if not unknown:
            return
        with timed(inquiry.timings, "hydrate"):
            # None of a higher rank can be missing: whoever is shown is among the first of those looked up with it.
            found = await self.chunks.passages(unknown, located=inquiry.top_k)
        live = {passage.chunk_no: passage for passage in found}
        inquiry.looks += 1
        inquiry.seen.update({number: live.get(number) for number in unknown})
