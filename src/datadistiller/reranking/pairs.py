"""What both engines share: a question and a text become one row of token ids that fits the window.

Too long a text loses its end, never the question: the question is what all texts are judged by, so it must be the same
beside each, and a text's first sentences say what it is about. Cutting the longer of the two, as is often done, would
judge short and long texts by different questions. Chunks are far smaller than the window of such models, so that with
questions of ordinary length nothing is cut at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datadistiller.embedding import artifact
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.reranking import Scorer


class PairReranker:
    """Implements ``reranking.Reranker`` with a ``reranking.Scorer``."""

    def __init__(self, card: artifact.Card, scorer: Scorer) -> None:
        """Opens the tokenizer of ``card``; ``errors.SetupError`` if it is damaged."""
        self._card = card
        self._scorer = scorer
        self._tokenizer = WordpieceTokenizer(card)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._card.name

    @property
    def engine(self) -> str:
        """What computes, for people."""
        return self._scorer.name

    def score(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """How well each text answers the question, ``float32[len(texts)]``."""
        [asked], pieces = self._tokenizer.pieces([question]), self._tokenizer.pieces(texts)
        first, last = self._tokenizer.marks
        room = self._card.window - 3  # [CLS] question [SEP] text [SEP]
        head = [first, *asked[: room // 2], last]
        rest = self._card.window - len(head) - 1
        return self._scorer.score([[*head, *ids[:rest], last] for ids in pieces], [len(head)] * len(pieces))
