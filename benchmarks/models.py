"""``python -m benchmarks.models [SECONDS]``: how fast models of other shapes are, beside the bundled one's shape.

Their weights are random: that says nothing about what they find, and a speed does not depend on it. All take turns, so
that whatever else the machine does hits them alike; the figures are medians of the turns, in tokens per second of
processor time with one thread, and as a share of the bundled model's shape on the native engine in the same run.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rows import Row
from datadistiller import cores
from datadistiller.embedding import onnx_graph, weights
from datadistiller.embedding.native.engine import Engine
from datadistiller.embedding.weights import SCORE, Shape

SECONDS = 60.0
TEXTS, TOKENS = 8, 230  # chunks with their contexts
PASSAGES, QUESTION = 20, 14  # the setting's default, and the tokens of a question with its marks
BUNDLED = "MiniLM-L6"
#: layers, dim, heads, inner, vocabulary, positions, pooling, epsilon
SHAPES = {
    BUNDLED: Shape(6, 384, 12, 1536, 30522, 256, 0, 1e-12),
    "MiniLM-L12, e5-small, gte-small, bge-small": Shape(12, 384, 12, 1536, 30522, 512, 1, 1e-12),
    "BERT base (e5-base, bge-base)": Shape(12, 768, 12, 3072, 30522, 512, 1, 1e-12),
}
CROSS_ENCODERS = {"MiniLM-L6": Shape(6, 384, 12, 1536, 30522, 512, SCORE, 1e-12)}

Work = Callable[[], Any]


def random_model(path: Path, shape: Shape, seed: int = 0) -> Path:
    """A weights file of that shape, with random weights of about the sizes that trained ones have."""
    rng = np.random.default_rng(seed)

    def normal(*dims: int, size: float) -> NDArray[np.float32]:
        return rng.normal(0, size, dims).astype(np.float32)

    words, scales = weights.quantized_rows(normal(shape.vocabulary, shape.dim, size=0.05))
    parts: dict[str, Any] = {"words": words, "word_scales": scales}
    parts["positions"] = normal(shape.kinds * shape.positions, shape.dim, size=0.02)
    for name, _, dims in weights.parts(shape):
        if name.startswith("classifier."):
            parts[name] = normal(*dims, size=0.1)
        elif name.endswith(".gain"):
            parts[name] = 1 + normal(*dims, size=0.1)
        elif name.endswith("norm.bias"):
            parts[name] = normal(*dims, size=0.1)
    for n in range(shape.layers):
        for name, inputs, outputs in (
            ("attention_in", shape.dim, 3 * shape.dim),
            ("attention_out", shape.dim, shape.dim),
            ("inner", shape.dim, shape.inner),
            ("outer", shape.inner, shape.dim),
        ):
            matrix = normal(outputs, inputs, size=1.5 * inputs**-0.5)
            parts |= weights.packed_linear(f"{n}.{name}", matrix, normal(outputs, size=0.1))
    if shape.pooling == SCORE:
        matrix = normal(shape.dim, shape.dim, size=shape.dim**-0.5)
        parts |= weights.packed_linear("pooler", matrix, normal(shape.dim, size=0.1))
    weights.write(path, "random", shape, parts)
    return path


def measure(seconds: float = SECONDS) -> list[Row]:
    """Tokens per second of processor time for each shape and engine; one question's passages scored anew."""
    rng = np.random.default_rng(1)
    texts = rng.integers(1000, 30000, (TEXTS, TOKENS)).tolist()
    pairs = rng.integers(1000, 30000, (PASSAGES, QUESTION + TOKENS)).tolist()
    with tempfile.TemporaryDirectory() as folder:
        works: dict[str, Work] = {}
        for n, (name, shape) in enumerate(SHAPES.items()):
            path = random_model(Path(folder) / str(n), shape)
            works |= {f"{name}, {engine}": work for engine, work in _encoders(path, texts).items()}
        for name, shape in CROSS_ENCODERS.items():
            engine = Engine(random_model(Path(folder) / "scorer", shape))
            works[f"cross-encoder {name}"] = partial(engine.score, pairs, [QUESTION] * PASSAGES, cores.allowed())
        turns = _turns(works, seconds)
    rates = {name: TEXTS * TOKENS / cpu for name, (_, cpu) in turns.items()}
    of_bundled = rates[f"{BUNDLED}, native"]
    rows = [
        Row(name, "", f"{rate:,.0f} tokens per CPU second, {rate / of_bundled:.2f} x {BUNDLED}")
        for name, rate in rates.items()
        if not name.startswith("cross")
    ]
    for name, (wall, cpu) in turns.items():
        if name.startswith("cross"):
            figure = f"{1000 * wall:.0f} ms, {1000 * cpu:.0f} ms of CPU, {cores.allowed()} threads"
            rows.append(Row(f"{name}: {PASSAGES} passages of {TOKENS} tokens", "", figure))
    return rows


def _encoders(path: Path, texts: Sequence[Sequence[int]]) -> dict[str, Work]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_graph.serialized(weights.read(path)), options)
    engine = Engine(path)
    return {
        "native": lambda: engine.encode(texts),
        "ONNX Runtime": lambda: [session.run(None, {"input_ids": np.array([text])}) for text in texts],
    }


def _turns(works: dict[str, Work], seconds: float) -> dict[str, tuple[float, float]]:
    """Seconds and processor seconds of each, medians over turns; at least two turns, of which the first is not kept."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds or len(taken[next(iter(works))]) < 2:
        for name, work in works.items():
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: (statistics.median(wall for wall, _ in each[1:]), statistics.median(cpu for _, cpu in each[1:]))
        for name, each in taken.items()
    }


def main() -> None:
    """Prints the figures."""
    for row in measure(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS):
        print(f"{row.what}: {row.figure}")


if __name__ == "__main__":
    main()
