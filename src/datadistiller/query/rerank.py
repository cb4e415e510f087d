"""Puts the passages that search found into the order of a model that reads each together with the question."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from datadistiller.model import Passage
from datadistiller.reranking import Reranker


@dataclass(frozen=True, slots=True)
class Rerank:
    """Scores the best passages of a search anew, those of one question at a time: a question takes all cores."""

    reranker: Reranker
    passages: int  # to be scored, at the most, unless more are asked for
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # who waits for it holds no thread

    def wanted(self, top_k: int) -> int:
        """How many passages search is to find. All that are shown are scored: two kinds of scores do not compare."""
        return max(top_k, self.passages)

    async def best(self, question: str, found: Sequence[Passage], top_k: int) -> list[Passage]:
        """The best ``top_k`` passages; equal ones stay in the order of the search.

        ``score`` becomes the model's, between 0 and 1. What is read is what was embedded: the context and the text.
        """
        texts = [f"{passage.context}\n{passage.text}" if passage.context else passage.text for passage in found]
        async with self.turn:
            logits = await asyncio.to_thread(self.reranker.score, question, texts)
        scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))
        order = np.argsort(-logits, kind="stable")[:top_k]
        return [replace(found[n], score=float(scores[n])) for n in order]
