"""What both engines share: texts become token ids, and a text that does not fit is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.embedding import Encoder, artifact
from datadistiller.embedding.wordpiece import WordpieceTokenizer


class TextEmbedder:
    """Implements ``embedding.Embedder`` with an ``embedding.Encoder``. Safe to call from several threads."""

    def __init__(self, card: artifact.Card, encoder: Encoder) -> None:
        """Opens the tokenizer of ``card``; ``errors.SetupError`` if it is damaged."""
        self._card = card
        self._encoder = encoder
        self._tokenizer = WordpieceTokenizer(card)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._card.dim

    @property
    def fingerprint(self) -> str:
        """Names the model exactly; it is the same for both engines, whose vectors agree."""
        return self._card.fingerprint

    @property
    def engine(self) -> str:
        """What computes, for people."""
        return self._encoder.name

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors ``float32[len(texts), dim]`` of length 1, in the order of the texts.

        Raises ``errors.BrokenInvariant`` if a text is longer than the window.
        """
        ids = self._tokenizer.ids(texts)
        longest = max(map(len, ids), default=0)
        if longest > self._card.window:
            raise errors.BrokenInvariant(
                f"A text of {longest} tokens does not fit the embedding model's window of {self._card.window}."
            )
        return self._encoder.encode(ids)

    def embed_question(self, text: str) -> NDArray[np.float32]:
        """The vector ``float32[dim]`` of a question; one longer than the window is cut, the only cut there is."""
        vector: NDArray[np.float32] = self._encoder.encode([self._tokenizer.question_ids(text)])[0]
        return vector
