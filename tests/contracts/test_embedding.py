"""What every embedding engine must do. Run on each adapter."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.embedding import Embedder
from datadistiller.embedding.native.embedder import NativeEmbedder
from datadistiller.embedding.onnx import OnnxEmbedder
from tests.contracts import native_kit

REFERENCE = json.loads(Path(__file__).with_name("embedding_reference.json").read_bytes())
#: Lowest cosine to the vectors in full precision, for texts of a sentence or more.
CLOSE = 0.985


@pytest.fixture(scope="module", params=[OnnxEmbedder, NativeEmbedder])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    """Each engine there is."""
    if request.param is NativeEmbedder:
        native_kit.needed()
    engine: Embedder = request.param(threads=1)
    return engine


def reference(entry: dict[str, str]) -> NDArray[np.float32]:
    """The vector in full precision."""
    return np.frombuffer(base64.b64decode(entry["vector"]), "<f2").astype(np.float32)


@pytest.mark.parametrize("entry", REFERENCE, ids=lambda entry: repr(entry["text"][:12]))
def test_vectors_are_those_of_the_published_model(embedder: Embedder, entry: dict[str, str]) -> None:
    [vector] = embedder.embed([entry["text"]])
    assert vector @ reference(entry) > (CLOSE if len(entry["text"]) > 10 else 0.97)


def test_vectors_have_the_right_shape_and_length(embedder: Embedder) -> None:
    vectors = embedder.embed([entry["text"] for entry in REFERENCE])
    assert vectors.shape == (len(REFERENCE), embedder.dim)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dim)


def test_a_vector_does_not_depend_on_what_else_is_in_the_batch(embedder: Embedder) -> None:
    texts = [entry["text"] for entry in REFERENCE]
    together = embedder.embed(texts)
    backwards = embedder.embed(texts[::-1])[::-1]
    alone = np.vstack([embedder.embed([text]) for text in texts])
    questions = np.vstack([embedder.embed_question(text) for text in texts])
    for other in (backwards, alone, questions):
        assert np.all(np.sum(together * other, axis=1) > 0.995)


def test_a_text_longer_than_the_window_is_refused_and_a_question_is_cut(embedder: Embedder) -> None:
    assert embedder.embed(["tide " * 254]).shape == (1, embedder.dim)
    with pytest.raises(errors.BrokenInvariant) as caught:
        embedder.embed(["short", "tide " * 255])
    assert "tide" not in caught.value.message
    vector = embedder.embed_question("tide " * 20_000)
    assert vector @ embedder.embed(["tide " * 254])[0] > 0.995


def test_any_question_has_a_vector(embedder: Embedder) -> None:
    for question in ("", " \n", "?", "a\ud800b", "[CLS] [SEP]", "\x00\x07", "👍🏽", "x" * 100_000):
        assert np.isclose(np.linalg.norm(embedder.embed_question(question)), 1, atol=1e-5)


def test_threads_may_share_it(embedder: Embedder) -> None:
    texts = [entry["text"] for entry in REFERENCE]
    expected, results = embedder.embed(texts), [np.zeros(0, np.float32)] * 4

    def work(n: int) -> None:
        results[n] = embedder.embed(texts)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.all(np.sum(result * expected, axis=1) > 0.995) for result in results)


def test_related_texts_are_nearer_than_others(embedder: Embedder) -> None:
    question = embedder.embed_question("How high was the tide?")
    near, far = embedder.embed(["The water rose by four metres.", "Invoices are due within thirty days."])
    assert question @ near > question @ far + 0.1


def test_the_fingerprint_is_the_same_in_every_process(embedder: Embedder) -> None:
    code = "from datadistiller.embedding import artifact; print(artifact.read().fingerprint)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert run.stdout.strip() == embedder.fingerprint


def environment() -> dict[str, str]:
    """The environment of a child that imports the package as this process does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
