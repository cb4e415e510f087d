"""The bundled model: found damaged before it does harm, and no heavier than it must be."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from datadistiller import errors
from datadistiller.embedding import artifact
from datadistiller.embedding.native.embedder import NativeEmbedder
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from tests.contracts import native_kit

MODEL, TOKENIZER, CARD = "minilm-l6-v2.int8.weights", "tokenizer.json", "model.json"


def truncate(path: Path) -> None:
    """As a full disk leaves it."""
    with path.open("r+b") as file:
        file.truncate(1000)


def flip(path: Path) -> None:
    """One bit, the size unchanged."""
    with path.open("r+b") as file:
        file.seek(500)
        byte = file.read(1)[0]
        file.seek(500)
        file.write(bytes([byte ^ 1]))


def forget(path: Path) -> None:
    """Gone."""
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, flip, forget])
@pytest.mark.parametrize("name", [MODEL, TOKENIZER])
def test_a_damaged_model_is_refused_in_one_sentence(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    folder = tmp_path / "data"
    shutil.copytree(artifact.BUNDLED, folder)
    damage(folder / name)
    with pytest.raises(errors.SetupError) as caught:
        OnnxEmbedder(1, artifact.read(folder))
    assert name in caught.value.message and caught.value.message.count(". ") == 0


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": 3}'])
def test_a_damaged_card_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / CARD).write_text(content)
    with pytest.raises(errors.SetupError, match=CARD):
        artifact.read(tmp_path)


def test_the_fingerprint_changes_with_each_part(tmp_path: Path) -> None:
    card = json.loads((artifact.BUNDLED / CARD).read_bytes())
    fingerprints = {artifact.read().fingerprint}
    for change in (
        {"pooling": "cls"},
        {"dim": 383},
        {"prefix": "query: "},
        {"window": 128},
        {"model": card["tokenizer"]},
    ):
        (tmp_path / CARD).write_text(json.dumps(card | change))
        fingerprints.add(artifact.read(tmp_path).fingerprint)
    assert len(fingerprints) == 6


@pytest.mark.parametrize("engine", [OnnxEmbedder, NativeEmbedder])
def test_a_file_that_holds_no_weights_is_a_setup_error(engine: type[OnnxEmbedder | NativeEmbedder]) -> None:
    if engine is NativeEmbedder:
        native_kit.needed()
    card = artifact.read()
    with pytest.raises(errors.SetupError, match="no weights"):
        engine(1, dataclasses.replace(card, model=card.tokenizer))


def test_an_engine_that_computes_something_else_is_not_used() -> None:
    native_kit.needed()
    with pytest.raises(errors.SetupError, match="does not compute here what it should"):
        NativeEmbedder(1, dataclasses.replace(artifact.read(), check="0" * 64))


def test_importing_is_light_and_starts_no_threads() -> None:
    code = """
import sys
import datadistiller.embedding.onnx as onnx, datadistiller.embedding.wordpiece as wordpiece
print(sorted({"onnxruntime", "tokenizers"} & set(sys.modules)))
import onnxruntime, psutil  # importing the runtime starts one idle thread, whatever is asked of it
before = psutil.Process().num_threads()
engine = onnx.OnnxEmbedder(threads=1)
engine.embed([f"text {n}" for n in range(64)])
wordpiece.WordpieceTokenizer().offsets([f"text {n}" for n in range(64)])
print(psutil.Process().num_threads() - before)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.split("\n")[:2] == ["[]", "0"]


class TestTokenizer:
    """The tokenizer by itself."""

    tokenizer = WordpieceTokenizer()

    def test_offsets_are_code_points_of_the_text_given(self) -> None:
        text = "Ships e\u0301 👍🏽 中文 lighthousekeeper [SEP]"
        [offsets] = self.tokenizer.offsets([text])
        found = [text[start:end] for start, end in offsets]
        assert found == ["Ships", "e", "👍🏽", "中", "文", "lighthouse", "keeper", "[", "SEP", "]"]

    def test_counts_and_ids_hold_special_tokens_and_offsets_do_not(self) -> None:
        texts = ["", "one two three", "tide " * 1000]
        assert self.tokenizer.special_tokens == 2
        assert self.tokenizer.count(texts) == [2, 5, 1002]
        assert [len(ids) for ids in self.tokenizer.ids(texts)] == [2, 5, 1002]
        assert [array.shape for array in self.tokenizer.offsets(texts)] == [(0, 2), (3, 2), (1000, 2)]

    def test_special_tokens_in_a_text_are_text(self) -> None:
        [ids] = self.tokenizer.ids(["[SEP] [CLS] [PAD]"])
        assert not {0, 101, 102} & set(ids[1:-1])
