"""The native engine: the same bits from every set of kernels, whatever is beside a text; and nothing gets past it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.models import random_model
from datadistiller import errors
from datadistiller.embedding import artifact, weights
from datadistiller.embedding.native import selfcheck
from datadistiller.embedding.native.engine import Engine, Stop, Stopped
from datadistiller.embedding.weights import Shape
from tests.contracts import native_kit

KERNELS = native_kit.fast_kernels() or ["none"]
#: layers, dim, heads, inner, vocabulary, positions, pooling, epsilon
SHAPES = [
    Shape(1, 64, 2, 64, 100, 80, 0, 1e-12),
    Shape(2, 128, 4, 320, 100, 200, 1, 1e-12),
    Shape(1, 192, 3, 128, 50, 512, 0, 1e-7),
    Shape(1, 192, 2, 64, 70, 40, 1, 1e-12),
    Shape(1, 384, 12, 1536, 300, 70, 0, 1e-12),
    Shape(1, 256, 2, 448, 30, 20, 0, 1e-5),
]


@pytest.fixture(scope="module", autouse=True)
def native() -> None:
    native_kit.needed()


@pytest.fixture(scope="module", params=KERNELS)
def engine(request: pytest.FixtureRequest) -> Engine:
    """The bundled model with each set of kernels that runs here."""
    return Engine(artifact.read().model.path, request.param)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that computes at once."""
    return random_model(tmp_path_factory.mktemp("small") / "small.weights", SHAPES[1])


def random_texts(engine: Engine, lengths: list[int], seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, engine.vocabulary, length).tolist() for length in lengths]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.dim}x{shape.layers}")
@pytest.mark.parametrize("kernels", KERNELS)
def test_all_kernels_give_the_bits_of_the_plain_loops(kernels: str, shape: Shape, tmp_path: Path) -> None:
    path = random_model(tmp_path / "weights", shape, seed=shape.dim)
    plain, fast = Engine(path, "reference"), Engine(path, kernels)
    lengths = [1, 5, 6, 7, 16, 17, 63, 65] if shape.dim < 384 else [1, 13, 66]  # the plain loops are slow
    texts = random_texts(plain, [length for length in [*lengths, plain.window] if length <= plain.window])
    assert np.array_equal(plain.encode(texts), fast.encode(texts))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.dim}x{shape.layers}")
def test_the_plain_loops_compute_the_model(shape: Shape, tmp_path: Path) -> None:
    path = random_model(tmp_path / "weights", shape, seed=7)
    engine = Engine(path, "reference")
    texts = random_texts(engine, [1, 3, 12, min(40, engine.window)])
    expected = native_kit.plain_vectors(weights.read(path), texts)
    assert np.all(np.sum(engine.encode(texts) * expected, axis=1) > 0.995)


def test_the_bundled_model_s_check_is_what_the_kernels_give(engine: Engine) -> None:
    assert selfcheck.digest(engine) == artifact.read().check


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_vector_has_the_same_bits_whatever_is_beside_its_text(engine: Engine, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 60) | st.sampled_from([1, 128, 255, 256]), min_size=1, max_size=6))
    texts = random_texts(engine, lengths, data.draw(st.integers(0, 99)))
    alone = np.vstack([engine.encode([text]) for text in texts])
    order = data.draw(st.permutations(range(len(texts))))
    together = engine.encode([texts[n] for n in order], data.draw(st.integers(1, 8)))
    assert np.array_equal(together, alone[list(order)])


def test_every_number_of_threads_and_concurrent_calls_give_the_same_bits(engine: Engine) -> None:
    texts = random_texts(engine, [5, 200, 31, 256, 1, 90, 17, 60])
    expected = engine.encode(texts)
    results: list[Any] = [None] * 5

    def work(n: int) -> None:
        results[n] = engine.encode(texts, threads=2 * n)

    callers = [threading.Thread(target=work, args=(n,)) for n in range(5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(np.array_equal(result, expected) for result in results)


def test_no_texts_one_token_and_very_many_texts(engine: Engine, small: Path) -> None:
    assert engine.encode([]).shape == (0, engine.dim)
    assert np.isclose(np.linalg.norm(engine.encode([[101]])), 1, atol=1e-6)
    quick = Engine(small, engine.kernels)
    vectors = quick.encode([[1 + n % 7] for n in range(100_000)], threads=2)
    assert np.array_equal(vectors[:7], vectors[70_000 - 70_000 % 7 :][:7])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("text", [[], [-1], [30522], [2**31], [2**63], ["a"], [None], [1] * 257])
def test_what_is_no_text_is_refused_and_others_are_not_computed(engine: Engine, text: list[Any]) -> None:
    with pytest.raises(errors.BrokenInvariant):
        engine.encode([[101, 102], text])


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(st.lists(st.integers(-3, 120) | st.integers(), max_size=90), max_size=6), threads=st.integers(-2, 9)
)
def test_whatever_python_hands_over_gives_vectors_or_is_refused(
    small: Path, texts: list[list[int]], threads: int
) -> None:
    engine = Engine(small)
    good = all(text and len(text) <= engine.window and all(0 <= i < engine.vocabulary for i in text) for text in texts)
    if good:
        assert np.allclose(np.linalg.norm(engine.encode(texts, threads), axis=1), 1, atol=1e-5)
    else:
        with pytest.raises(errors.BrokenInvariant):
            engine.encode(texts, threads)


def test_the_library_checks_for_itself(small: Path) -> None:
    engine = Engine(small)
    for ids, lengths in (([-1], [1]), ([100], [1]), ([1], [0]), ([1, 2], [3, -1]), ([1], [2]), ([1] * 201, [201])):
        engine._checked = lambda _, i=ids, n=lengths: (np.array(i, np.int32), np.array(n, np.int32))  # type: ignore[method-assign]
        with pytest.raises(errors.BrokenInvariant):
            engine.encode([[1]] * len(lengths))


def test_a_stop_takes_effect_between_groups(engine: Engine) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        engine.encode([[101]], stop=stop)
    texts, later = random_texts(engine, [250] * 300), Stop()
    timer = threading.Timer(0.05, later.set)
    timer.start()
    with pytest.raises(Stopped):
        engine.encode(texts, threads=2, stop=later)
    timer.join()


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 255) | st.integers(0), byte=st.integers(1, 255))
def test_a_damaged_file_is_refused_in_one_sentence(small: Path, place: int, byte: int) -> None:
    content = bytearray(small.read_bytes())
    place %= len(content)
    content[place] ^= byte
    damaged = small.with_name("damaged.weights")
    damaged.write_bytes(content)
    for read in (Engine, weights.read):
        with pytest.raises(errors.SetupError) as caught:
            read(damaged)
        assert caught.value.message.endswith(".") and caught.value.message.count(". ") == 0


def test_a_truncated_file_is_refused(small: Path) -> None:
    content = small.read_bytes()
    for size in (0, 7, 255, 256, 257, len(content) // 2, len(content) - 1):
        short = small.with_name(f"short-{size}.weights")
        short.write_bytes(content[:size])
        for read in (Engine, weights.read):
            with pytest.raises(errors.SetupError):
                read(short)


def test_kernels_and_libraries_that_are_not_there_are_told(small: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.SetupError, match="kernels 'abacus'"):
        Engine(small, "abacus")
    with pytest.raises(errors.SetupError, match="has not been compiled"):
        Engine(small, library=tmp_path / "nothing.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(errors.SetupError, match="cannot be loaded"):
        Engine(small, library=tmp_path / "text.so")
