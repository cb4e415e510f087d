"""Small models with random weights, and what the tests of the native engine need to know of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.embedding import weights
from datadistiller.embedding.native import build
from datadistiller.embedding.native.engine import KERNELS, Engine


def needed() -> None:
    """Skips the test where the native engine has not been compiled or has no kernels for the processor."""
    if not build.LIBRARY.exists():
        pytest.skip("the native engine has not been compiled: no C++ compiler")
    if not fast_kernels():
        pytest.skip("the native engine has no kernels for this processor")


def fast_kernels() -> list[str]:
    """The kernels that this processor can run, but the plain ones."""
    return [name for name in KERNELS if name != "reference" and runs(name)]


def runs(kernels: str) -> bool:
    """Whether this processor has them. A file that is none is looked at after that."""
    try:
        Engine(Path("nothing"), kernels)
    except errors.SetupError as error:
        return "kernels" not in error.message
    return True


def plain_vectors(model: weights.Weights, texts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """What a model gives in full precision: the textbook's forward pass, activations never rounded."""
    rows = [_plain_rows(model, text, len(text)) for text in texts]
    pooled = [x.mean(0) if weights.POOLINGS[model.shape.pooling] == "mean" else x[0] for x in rows]
    return np.array([x / np.linalg.norm(x) for x in pooled])


def plain_scores(model: weights.Weights, pairs: Sequence[Sequence[int]], firsts: Sequence[int]) -> NDArray[np.float64]:
    """The same of a model that scores."""
    rows = np.array([_plain_rows(model, pair, first)[0] for pair, first in zip(pairs, firsts, strict=True)])
    parts = model.parts
    pooled = (rows @ model.matrix("pooler").astype(np.float64)) * parts["pooler.scales"] + parts["pooler.bias"]
    scores: NDArray[np.float64] = np.tanh(pooled) @ parts["classifier.weights"] + parts["classifier.bias"]
    return scores


def _plain_rows(model: weights.Weights, text: Sequence[int], first: int) -> NDArray[np.float64]:
    from math import erf

    shape, parts = model.shape, {name: part.astype(np.float64) for name, part in model.parts.items()}
    error = np.vectorize(erf)

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        centred = x - x.mean(1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(1, keepdims=True) + shape.epsilon)
        return unit * parts[f"{name}.gain"] + parts[f"{name}.bias"]

    def linear(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return (x @ model.matrix(name).astype(np.float64)) * parts[f"{name}.scales"] + parts[f"{name}.bias"]

    places = [n + shape.positions * (n >= first) for n in range(len(text))]
    x = parts["words"][list(text)] * parts["word_scales"][list(text), None] + parts["positions"][places]
    x = norm(x, "norm")
    for n in range(shape.layers):
        heads = linear(x, f"{n}.attention_in").reshape(len(text), 3, shape.heads, -1).transpose(1, 2, 0, 3)
        scores = heads[0] @ heads[1].transpose(0, 2, 1) * heads.shape[-1] ** -0.5
        chances = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (chances / chances.sum(-1, keepdims=True)) @ heads[2]
        x = norm(
            x + linear(mixed.transpose(1, 0, 2).reshape(len(text), -1), f"{n}.attention_out"), f"{n}.attention_norm"
        )
        inner = linear(x, f"{n}.inner")
        x = norm(x + linear(inner * 0.5 * (1 + error(inner * 0.5**0.5)), f"{n}.outer"), f"{n}.output_norm")
    return x
