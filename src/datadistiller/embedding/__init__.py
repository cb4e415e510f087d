"""The embedding port: texts in, unit vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """An engine: token ids in, unit vectors out. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """What it is and what it computes with, for people."""
        ...

    def encode(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Vectors ``float32[len(texts), dim]`` of texts of one token up to the model's window. Releases the GIL."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors of one model. Safe to call from several threads.

    Corner cases: no texts gives ``float32[0, dim]``; an empty text gives a unit vector; a text longer than
    the window raises ``errors.BrokenInvariant`` (a text is never cut silently). Equal texts give vectors
    that agree within 0.005 cosine whatever else is in the batch. Order of results is order of texts. What the model
    wants before texts and questions is put there, and counts for the window.
    """

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names the model exactly: hashes, pooling, dimension, window, prefixes. Vectors of two never mix."""
        ...

    @property
    def engine(self) -> str:
        """What computes, for people: both engines give vectors of the same fingerprint."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors ``float32[len(texts), dim]`` of length 1. Blocks (CPU-bound); releases the GIL while computing."""
        ...

    def embed_question(self, text: str) -> NDArray[np.float32]:
        """The vector ``float32[dim]`` of a question; a question longer than the window is cut (the only cut)."""
        ...
