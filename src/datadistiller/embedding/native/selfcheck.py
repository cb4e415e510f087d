"""Whether the native engine computes here what it computed where the model was made, to the last bit.

All its kernels give the same bits, so one digest in ``model.json`` speaks for each of them. A compiler's mistake, a
processor that is not what it says, or damaged memory show as another digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from datadistiller.embedding.native.engine import Engine

#: A text that is one token, one that fills no tile, and one that needs a second panel of keys.
_LENGTHS = (1, 9, 68)


def digest(engine: Engine) -> str:
    """What the vectors of some arbitrary token ids hash to. Takes about 5 ms."""
    vectors = engine.encode(_texts(engine.vocabulary, engine.window))
    return hashlib.sha256(vectors.astype("<f4").tobytes()).hexdigest()


def _texts(vocabulary: int, window: int) -> Sequence[Sequence[int]]:
    ids = iter((7919 * n + 101) % vocabulary for n in range(sum(_LENGTHS)))
    return [[next(ids) for _ in range(min(length, window))] for length in _LENGTHS]
