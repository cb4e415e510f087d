"""The reranking port: a question and the texts that search found for it in, how well each answers it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Scorer(Protocol):
    """An engine: pairs of token ids in, logits out. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """What it is and what it computes with, for people."""
        ...

    def score(self, pairs: Sequence[Sequence[int]], firsts: Sequence[int]) -> NDArray[np.float32]:
        """Logits ``float32[len(pairs)]`` of pairs of one token up to the model's window. Releases the GIL.

        ``firsts`` says how many tokens of each pair are the first part's.
        """
        ...


class Reranker(Protocol):
    """Reads a question together with each text. Safe to call from several threads.

    Corner cases: no texts give ``float32[0]``; an empty text has a score like any other; a text that does not fit the
    window beside the question is cut at its end; a question that fills more than half of the window is cut there, for
    all texts alike. A text's score does not depend on the other texts, to the last bit. Order of scores is order of
    texts. Scores are logits: any finite number, and only those of one model and one question can be compared.
    """

    @property
    def name(self) -> str:
        """The model's name: whose scores they are."""
        ...

    @property
    def engine(self) -> str:
        """What computes, for people."""
        ...

    def score(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """How well each text answers the question, ``float32[len(texts)]``. Blocks; releases the GIL meanwhile."""
        ...
