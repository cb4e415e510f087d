"""A model that scores pairs on both engines: the same bits from every set of kernels, whatever is beside a pair."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.models import random_model
from datadistiller import errors
from datadistiller.embedding import onnx_graph, weights
from datadistiller.embedding.native.engine import Engine, Stop, Stopped
from datadistiller.embedding.weights import Shape
from tests.contracts import native_kit

KERNELS = native_kit.fast_kernels() or ["none"]
#: layers, dim, heads, inner, vocabulary, positions, pooling, epsilon
SHAPES = [Shape(2, 128, 4, 320, 100, 90, weights.SCORE, 1e-12), Shape(1, 192, 3, 64, 60, 300, weights.SCORE, 1e-7)]
#: How far a score in eight bits may be from the one in full precision; random weights give scores of about -3 to 3.
CLOSE = 0.12
Pairs = tuple[list[list[int]], list[int]]


@pytest.fixture(scope="module", autouse=True)
def native() -> None:
    native_kit.needed()


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: f"{shape.dim}x{shape.layers}")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights."""
    return random_model(tmp_path_factory.mktemp("pairs") / "weights", request.param, seed=5)


def random_pairs(engine: Engine, lengths: list[int], seed: int = 0) -> Pairs:
    rng = np.random.default_rng(seed)
    pairs = [rng.integers(0, engine.vocabulary, length).tolist() for length in lengths]
    return pairs, [int(rng.integers(1, length + 1)) for length in lengths]


def by_onnx(model: Path, pairs: Pairs) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_graph.serialized(weights.read(model)))
    scores = []
    for ids, first in zip(*pairs, strict=True):
        kinds = [[int(place >= first) for place in range(len(ids))]]
        [score] = session.run(None, {"input_ids": np.array([ids]), "token_type_ids": np.array(kinds)})
        assert score.shape == (1, 1)
        scores.append(score[0, 0])
    return np.array(scores)


def test_every_kernel_and_the_graph_compute_the_model(model: Path) -> None:
    plain = Engine(model, "reference")
    pairs = random_pairs(plain, [1, 2, 6, 7, 16, 63, 65, plain.window])
    scores = plain.score(*pairs)
    for kernels in KERNELS:
        assert np.array_equal(Engine(model, kernels).score(*pairs), scores)
    expected = native_kit.plain_scores(weights.read(model), *pairs)
    assert np.ptp(expected) > 5 * CLOSE  # or being close would mean nothing
    assert np.abs(scores - expected).max() < CLOSE
    assert np.abs(by_onnx(model, pairs) - expected).max() < CLOSE


def test_the_graph_is_valid(model: Path) -> None:
    import onnx

    graph = onnx.load_from_string(onnx_graph.serialized(weights.read(model)))
    onnx.checker.check_model(graph, full_check=True)


def test_where_the_second_part_begins_counts(model: Path) -> None:
    engine = Engine(model)
    ids = list(range(20))
    scores = engine.score([ids] * 19, range(1, 20))
    assert len(set(scores.tolist())) == 19


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 90), min_size=1, max_size=8), seed=st.integers(0, 99), data=st.data())
def test_a_score_has_the_same_bits_whatever_is_beside_its_pair(
    model: Path, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    engine = Engine(model)
    pairs, firsts = random_pairs(engine, lengths, seed)
    alone = [engine.score([pair], [first])[0] for pair, first in zip(pairs, firsts, strict=True)]
    order = data.draw(st.permutations(range(len(pairs))))
    together = engine.score([pairs[n] for n in order], [firsts[n] for n in order], data.draw(st.integers(1, 5)))
    assert together.tolist() == [alone[n] for n in order]


def test_concurrent_calls_give_the_same_bits(model: Path) -> None:
    engine = Engine(model)
    pairs = random_pairs(engine, [60] * 30)
    expected = engine.score(*pairs)
    results: list[Any] = [None] * 4

    def work(n: int) -> None:
        results[n] = engine.score(*pairs, threads=n + 1)

    callers = [threading.Thread(target=work, args=(n,)) for n in range(len(results))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(np.array_equal(result, expected) for result in results)


def test_nothing_and_a_stop(model: Path) -> None:
    engine, stop = Engine(model), Stop()
    assert engine.score([], []).shape == (0,)
    stop.set()
    with pytest.raises(Stopped):
        engine.score([[1, 2]], [1], stop=stop)


@pytest.mark.parametrize(
    ("pairs", "firsts"),
    [
        ([[]], [0]),
        ([[1, 2]], [0]),
        ([[1, 2]], [3]),
        ([[1, 2]], [-1]),
        ([[1, 2]], []),
        ([[-1, 2]], [1]),
        ([[1] * 301], [1]),
    ],
)
def test_what_is_no_pair_is_refused(model: Path, pairs: list[list[int]], firsts: list[int]) -> None:
    with pytest.raises(errors.BrokenInvariant):
        Engine(model).score(pairs, firsts)


def test_vectors_and_scores_are_not_taken_for_each_other(model: Path, tmp_path: Path) -> None:
    vectors = random_model(tmp_path / "weights", Shape(1, 64, 2, 64, 100, 80, 0, 1e-12))
    with pytest.raises(errors.BrokenInvariant, match="models that score"):
        Engine(model).encode([[1, 2]])
    with pytest.raises(errors.BrokenInvariant, match="models that score"):
        Engine(vectors).score([[1, 2]], [1])


def test_the_library_checks_parts_for_itself(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(model)
    for firsts in (np.array([0], np.int32), np.array([3], np.int32), np.array([-5], np.int32)):
        with pytest.raises(errors.BrokenInvariant, match="not within it"):
            engine._run([[1, 2]], firsts, 1, 1, None)
    monkeypatch.setattr(engine, "scores", False)
    with pytest.raises(errors.BrokenInvariant, match="models that score"):
        engine._run([[1, 2]], None, engine.dim, 1, None)
