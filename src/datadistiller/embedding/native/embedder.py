"""The fast embedding engine as an embedder: opened only if it proves itself on this machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datadistiller.embedding import artifact
from datadistiller.embedding.native import selfcheck
from datadistiller.embedding.native.engine import Engine
from datadistiller.embedding.texts import TextEmbedder


class NativeEncoder:
    """Implements ``embedding.Encoder`` with threads of its own; the same bits whatever is beside a text."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._engine, self._threads = engine, threads

    @property
    def name(self) -> str:
        """The engine and its kernels."""
        return f"native ({self._engine.kernels})"

    def encode(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors ``float32[len(texts), dim]``; errors as ``Engine.encode`` has them."""
        return self._engine.encode(texts, self._threads)


class NativeEmbedder(TextEmbedder):
    """Implements ``embedding.Embedder``. The weights are mapped, so that all processes share them; a call takes about
    4 MB for each computing thread and gives them back."""

    def __init__(self, threads: int = 1, card: artifact.Card | None = None, kernels: str = "auto") -> None:
        """Opens the model of ``card`` (the bundled one) for up to ``threads`` computing threads per call.

        Raises ``errors.SetupError`` if the library is not there, the processor has no kernels for it, it does not
        compute what it should, or a file is damaged.
        """
        card = card or artifact.read()
        super().__init__(card, NativeEncoder(selfcheck.proven(card, kernels), threads))
