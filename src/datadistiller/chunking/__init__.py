"""Pure: blocks of parsed pages become chunks. No I/O.

The one thing it needs from outside is the embedder's own tokenizer, to measure texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Tokenizer(Protocol):
    """Measures texts the way the embedder reads them.

    A token never spans a space, tab or line break: texts joined by one have as many tokens as they have alone.
    """

    @property
    def window(self) -> int:
        """The most tokens of one text the embedder reads, special tokens included."""
        ...

    @property
    def special_tokens(self) -> int:
        """How many tokens are added around every text ([CLS], [SEP], and what the model wants before it)."""
        ...

    def offsets(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Character ranges of the tokens of each text, ``int32[tokens, 2]``, special tokens left out.

        Half-open, in order, in code points of the text given. Never truncates.
        """
        ...

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, special tokens included: what is compared with ``window``."""
        ...
