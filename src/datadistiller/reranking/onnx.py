"""Scores pairs with ONNX Runtime, on the graph that ``embedding.onnx_graph`` makes of the weights; one after the other,
as ``embedding.onnx`` does, so that a score does not depend on the other texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datadistiller.embedding import artifact, onnx
from datadistiller.reranking.pairs import PairReranker


class OnnxScorer:
    """Implements ``reranking.Scorer``."""

    def __init__(self, card: artifact.Card, threads: int) -> None:
        self._session = onnx.session(card, threads)

    @property
    def name(self) -> str:
        """The engine."""
        return "ONNX Runtime"

    def score(self, pairs: Sequence[Sequence[int]], firsts: Sequence[int]) -> NDArray[np.float32]:
        """Logits ``float32[len(pairs)]``."""
        scores = np.empty(len(pairs), np.float32)
        for n, (ids, first) in enumerate(zip(pairs, firsts, strict=True)):
            kinds = np.repeat([0, 1], [first, len(ids) - first])
            given = {"input_ids": np.array([ids], np.int64), "token_type_ids": kinds[None].astype(np.int64)}
            scores[n] = self._session.run(None, given)[0][0, 0]
        return scores


class OnnxReranker(PairReranker):
    """Implements ``reranking.Reranker``."""

    def __init__(self, card: artifact.Card, threads: int = 1) -> None:
        """Opens the model of ``card``; ``errors.SetupError`` if a file is damaged or the model cannot be loaded."""
        super().__init__(card, OnnxScorer(card, threads))
