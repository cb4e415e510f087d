"""Both engines give vectors of one model, and the one that fits is used."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from benchmarks.harness import DATA
from benchmarks.models import random_model
from datadistiller import errors, wiring
from datadistiller.embedding import artifact, onnx_graph, weights
from datadistiller.embedding.native import build, selfcheck
from datadistiller.embedding.native.embedder import NativeEmbedder
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.embedding.weights import Shape
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.settings import Settings
from tests.contracts import native_kit

ROOT = Path(__file__).parents[2]
#: Lowest cosine between the engines, for any text; and for one of two or three tokens, special ones included.
AGREE, AGREE_SHORT = 0.99, 0.985
TINY = ["", "x", "?", "\x00\x07", "👍🏽👍🏽"]
ODD = ["a b", "12 34 56", "今日は天気がいいから散歩しましょう。", "{}[]();", "É" * 60]
COLLECTIONS = ("adi", "cranfield", "kg_rag_sec10q", "scifact_train", "squad2", "xquad_de", "xquad_es")


@pytest.fixture(scope="module")
def engines() -> tuple[NativeEmbedder, OnnxEmbedder]:
    native_kit.needed()
    return NativeEmbedder(), OnnxEmbedder()


def disagreement(engines: tuple[NativeEmbedder, OnnxEmbedder], texts: list[str]) -> float:
    """The lowest cosine between the two."""
    native, onnx = (engine.embed(texts) for engine in engines)
    return float(np.sum(native * onnx, axis=1).min())


def test_the_engines_agree_on_tiny_odd_and_long_texts(engines: tuple[NativeEmbedder, OnnxEmbedder]) -> None:
    pages = [
        text for page in ("README.md", "ARCHITECTURE.md") for text in (ROOT / page).read_text("utf-8").split("\n\n")
    ]
    code = (ROOT / "src/datadistiller/pipeline.py").read_text("utf-8").split("\n\n")
    texts = [text[:500] for text in [*pages, *code]][:60]
    assert disagreement(engines, [*ODD, *texts, "tide " * 254]) >= AGREE
    assert disagreement(engines, TINY) >= AGREE_SHORT


def test_the_engines_agree_on_the_collections(engines: tuple[NativeEmbedder, OnnxEmbedder]) -> None:
    folder = DATA / "retrieval"
    if not folder.is_dir():
        pytest.skip(f"the evaluation data is not at {DATA} (set DATADISTILLER_DATA)")
    choose, texts = random.Random(5), []
    for name in COLLECTIONS:
        lines = (folder / name / "corpus.jsonl").read_text("utf-8").splitlines()
        texts += [json.loads(line)["text"][:900] for line in choose.sample(lines, 12)]
    counts = WordpieceTokenizer().count(texts)
    assert disagreement(engines, [text for text, count in zip(texts, counts, strict=True) if count <= 256]) >= AGREE


def test_they_share_a_fingerprint_and_name_themselves(engines: tuple[NativeEmbedder, OnnxEmbedder]) -> None:
    native, onnx = engines
    assert native.fingerprint == onnx.fingerprint == artifact.read().fingerprint
    assert native.engine.startswith("native (") and onnx.engine == "ONNX Runtime"


@pytest.mark.parametrize("pooling", [0, 1])
def test_the_graph_is_valid_and_computes_any_shape(tmp_path: Path, pooling: int) -> None:
    import onnx
    import onnxruntime

    model = weights.read(random_model(tmp_path / "weights", Shape(2, 192, 3, 320, 90, 40, pooling, 1e-12)))
    graph = onnx_graph.serialized(model)
    onnx.checker.check_model(onnx.load_from_string(graph), full_check=True)
    session = onnxruntime.InferenceSession(graph)
    texts = [[1], [5, 6, 7], list(range(40))]
    vectors = np.vstack([session.run(None, {"input_ids": np.array([text], np.int64)})[0] for text in texts])
    assert np.all(np.sum(vectors * native_kit.plain_vectors(model, texts), axis=1) > 0.995)


async def test_without_the_library_onnx_runtime_takes_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "nothing.so")  # as where there was no compiler
    with capture_logs() as logs:
        embedder = await wiring.open_embedder(Settings())
    assert embedder.engine == "ONNX Runtime"
    (line,) = [log for log in logs if log["event"] == "native_engine_not_used"]
    assert "has not been compiled" in line["reason"] and line["hint"]
    assert [log["engine"] for log in logs if log["event"] == "embedding_engine"] == ["ONNX Runtime"]
    with pytest.raises(errors.SetupError, match="has not been compiled"):
        await wiring.open_embedder(Settings(embedding_engine="native"))


@pytest.mark.parametrize("outcome", ["other bits", "not a number"])
async def test_an_engine_that_computes_wrongly_here_is_not_used(monkeypatch: pytest.MonkeyPatch, outcome: str) -> None:
    native_kit.needed()

    def computed(engine: object) -> str:
        if outcome == "not a number":
            raise errors.BrokenInvariant("A vector is not finite.")
        return "0" * 64

    monkeypatch.setattr(selfcheck, "digest", computed)
    assert (await wiring.open_embedder(Settings())).engine == "ONNX Runtime"
    with pytest.raises(errors.SetupError, match="does not compute here what it should"):
        await wiring.open_embedder(Settings(embedding_engine="native"))


async def test_the_setting_chooses_the_engine() -> None:
    native_kit.needed()
    names = {name: (await wiring.open_embedder(Settings(embedding_engine=name))).engine for name in ("auto", "native")}
    assert all(engine.startswith("native (") for engine in names.values())
    assert (await wiring.open_embedder(Settings(embedding_engine="onnx"))).engine == "ONNX Runtime"


@pytest.mark.parametrize("when", ["", '[ "${*#*avx512}" = "$*" ] && exec c++ "$@"'])
def test_a_compiler_that_fails_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: str) -> None:
    """Also where it fails on one file only: that does not mean that it has never heard of the instructions."""
    (tmp_path / "broken").write_text(f"#!/bin/sh\n{when}\necho 'error: no space left' >&2; exit 1\n")
    (tmp_path / "broken").chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "broken"))
    with pytest.raises(build.CannotBuild, match="no space left"):
        build.build(tmp_path / "engine.so")
    assert not (tmp_path / "engine.so").exists()
