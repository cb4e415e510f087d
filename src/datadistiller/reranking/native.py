"""Scores pairs with the native engine: the same kernels as for vectors, and a head of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datadistiller.embedding import artifact
from datadistiller.embedding.native import selfcheck
from datadistiller.embedding.native.engine import Engine
from datadistiller.reranking.pairs import PairReranker


class NativeScorer:
    """Implements ``reranking.Scorer`` with threads of its own; the same bits whatever is beside a pair."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._engine, self._threads = engine, threads

    @property
    def name(self) -> str:
        """The engine and its kernels."""
        return f"native ({self._engine.kernels})"

    def score(self, pairs: Sequence[Sequence[int]], firsts: Sequence[int]) -> NDArray[np.float32]:
        """Logits ``float32[len(pairs)]``; errors as ``Engine.score`` has them."""
        return self._engine.score(pairs, firsts, self._threads)


class NativeReranker(PairReranker):
    """Implements ``reranking.Reranker``. The weights are mapped, so that all processes share them."""

    def __init__(self, card: artifact.Card, threads: int = 1, kernels: str = "auto") -> None:
        """Opens the model of ``card``; raises what ``selfcheck.proven`` raises."""
        super().__init__(card, NativeScorer(selfcheck.proven(card, kernels), threads))
