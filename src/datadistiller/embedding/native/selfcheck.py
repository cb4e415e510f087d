"""Whether the native engine computes here what it computed where the model was made, to the last bit.

All its kernels give the same bits, so one digest in ``model.json`` speaks for each of them. A compiler's mistake, a
processor that is not what it says, or damaged memory show as another digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from datadistiller import errors
from datadistiller.embedding import artifact
from datadistiller.embedding.native.engine import Engine

#: A text that is one token, one that fills no tile, and one that needs a second panel of keys.
_LENGTHS = (1, 9, 68)


def digest(engine: Engine) -> str:
    """What the vectors or scores of some arbitrary token ids hash to. Takes about 5 ms."""
    texts = _texts(engine.vocabulary, engine.window)
    results = engine.score(texts, [(len(text) + 1) // 2 for text in texts]) if engine.scores else engine.encode(texts)
    return hashlib.sha256(results.astype("<f4").tobytes()).hexdigest()


def proven(card: artifact.Card, kernels: str = "auto") -> Engine:
    """The model of ``card``, open. Raises ``errors.SetupError`` if the library is not there, the processor has no
    kernels for it, it does not compute what it should, or a file is damaged."""
    engine = Engine(card.model.verified(), kernels)
    if not card.check:
        raise errors.SetupError(
            f"The model {card.name} was converted where the native engine could not say what it should compute.",
            hint="Convert it again where the native engine is, or use DATADISTILLER_EMBEDDING_ENGINE=onnx.",
        )
    if not _proves_itself(engine, card.check):
        raise errors.SetupError(
            f"The native embedding engine does not compute here what it should (kernels {engine.kernels}).",
            hint="Convert the model again if an earlier version converted it. Else DATADISTILLER_EMBEDDING_ENGINE=onnx "
            "does without the engine; please report the processor's model.",
        )
    return engine


def _proves_itself(engine: Engine, check: str) -> bool:
    try:
        return digest(engine) == check
    except errors.BrokenInvariant:  # not even a number
        return False


def _texts(vocabulary: int, window: int) -> Sequence[Sequence[int]]:
    ids = iter((7919 * n + 101) % vocabulary for n in range(sum(_LENGTHS)))
    return [[next(ids) for _ in range(min(length, window))] for length in _LENGTHS]
