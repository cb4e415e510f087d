"""Published models become models of ours, the same bytes each time; what does not fit is refused by name."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save, save_file
from typer.testing import CliRunner

from datadistiller import errors
from datadistiller.cli.main import app
from datadistiller.embedding import artifact, conversion, weights
from datadistiller.embedding.published import Options, Prefixes, describe
from datadistiller.embedding.tensor_file import TensorFile
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from tests.contracts import bert_kit
from tests.contracts.bert_kit import Sizes

TINY = Sizes(layers=1, dim=64, heads=2, inner=64)
MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A published model."""
    bert_kit.publish(tmp_path / "published", TINY)
    return tmp_path / "published"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("scores", [False, True])
def test_the_same_model_gives_the_same_bytes(tmp_path: Path, scores: bool) -> None:
    source = tmp_path / "published"
    bert_kit.publish(source, Sizes(layers=1, dim=64, heads=2, inner=64, scores=scores))
    first, second = (conversion.convert(source, tmp_path / name, "m") for name in ("one", "two"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert first.fingerprint == second.fingerprint and first.name == "m-int8" and first.scores is scores
    assert sorted(contents(tmp_path / "one")) == ["model.int8.weights", "model.json", "tokenizer.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "published", "two"]


def test_the_tokenizer_neither_cuts_nor_pads_any_more(folder: Path, tmp_path: Path) -> None:
    card = conversion.convert(folder, tmp_path / "made", "m")
    assert WordpieceTokenizer(card).count(["", "the tide", "the tide " * 40]) == [2, 4, 82]


def test_each_choice_makes_another_model(folder: Path, tmp_path: Path) -> None:
    choices = [
        Options(),
        Options(pooling="cls"),
        Options(max_tokens=80),
        Options(passage_prefix="passage: "),
        Options(query_prefix="query: "),
        Options(query_prefix="passage: ", passage_prefix="passage: "),
        Options(query_prefix="query: ", passage_prefix="passage: "),
    ]
    cards = [conversion.convert(folder, tmp_path / str(n), "m", choice) for n, choice in enumerate(choices)]
    assert len({card.fingerprint for card in cards}) == len(choices)
    assert [card.pooling for card in cards[:2]] == ["mean", "cls"]
    assert [card.window for card in cards[:3]] == [96, 96, 80]
    assert [(card.prefix, card.question_prefix) for card in cards[3:]] == [
        ("passage: ", ""), ("", "query: "), ("passage: ", "passage: "), ("passage: ", "query: ")
    ]  # fmt: skip


def test_the_folder_says_pooling_prefixes_and_window(tmp_path: Path) -> None:
    files = {
        "modules__json": MODULES,
        "sentence_bert_config__json": {"max_seq_length": 70, "do_lower_case": True},
        "config_sentence_transformers__json": {"prompts": {"query": "query: ", "document": "passage: "}},
    }
    bert_kit.publish(tmp_path / "m", TINY, pooling="cls", **files)
    said = describe(tmp_path / "m", Options())
    assert (said.prefixes, said.shape.positions) == (Prefixes("passage: ", "query: "), 70)
    assert weights.POOLINGS[said.shape.pooling] == "cls"
    options = Options(pooling="mean", query_prefix="", passage_prefix="", max_tokens=96)
    said = describe(tmp_path / "m", options)
    assert (said.prefixes, said.shape.positions, said.shape.pooling) == (Prefixes(), 96, 0)


def test_a_default_prompt_is_for_both_and_pooling_may_be_written_as_lately(folder: Path) -> None:
    prompts = {"prompts": {"any": "text: "}, "default_prompt_name": "any", "similarity_fn_name": "cosine"}
    bert_kit.change(folder / "config_sentence_transformers.json", prompts)
    (folder / "1_Pooling/config.json").write_text('{"embedding_dimension": 64, "pooling_mode": "cls"}')
    said = describe(folder, Options())
    assert (said.prefixes, said.shape.pooling) == (Prefixes("text: ", "text: "), 1)


CONFIG, POOLING, TOKENIZER = "config.json", "1_Pooling/config.json", "tokenizer.json"
TEXTS, BERT, ALL = "config_sentence_transformers.json", "sentence_bert_config.json", "modules.json"
REFUSED: list[tuple[str, Any, str]] = [
    (CONFIG, {"model_type": "xlm-roberta"}, "model_type is 'xlm-roberta'"),
    (CONFIG, {"hidden_act": "gelu_new"}, "hidden_act"),
    (CONFIG, {"position_embedding_type": "relative_key"}, "position_embedding_type"),
    (CONFIG, {"is_decoder": True}, "is_decoder"),
    (CONFIG, {"embedding_size": 32}, "embedding_size"),
    (CONFIG, {"hidden_size": 312}, "hidden_size is 312"),
    (CONFIG, {"hidden_size": 8192}, "hidden_size is 8192"),
    (CONFIG, {"num_attention_heads": 4}, "num_attention_heads is 4"),
    (CONFIG, {"num_attention_heads": "2"}, "num_attention_heads"),
    (CONFIG, {"intermediate_size": 100}, "intermediate_size is 100"),
    (CONFIG, {"num_hidden_layers": 65}, "num_hidden_layers is 65"),
    (CONFIG, {"num_hidden_layers": 2}, "encoder.layer.1"),
    (CONFIG, {"vocab_size": 20}, "embeddings.word_embeddings.weight"),
    (CONFIG, {"layer_norm_eps": "tiny"}, "layer_norm_eps"),
    (CONFIG, {"type_vocab_size": 0}, "type_vocab_size is 0"),
    (CONFIG, {"max_position_embeddings": 2048}, "max_position_embeddings"),
    (CONFIG, [], "not an object"),
    (CONFIG, {"quantization_config": {"bits": 4}}, "quantization_config"),
    (POOLING, {"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
    (POOLING, {"pooling_mode_cls_token": True}, "pooling_mode"),
    (POOLING, {"pooling_mode": ["mean", "cls"]}, "pooling_mode"),
    (POOLING, {"word_embedding_dimension": 32}, "word_embedding_dimension"),
    (ALL, [*MODULES, {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}], "Dense"),
    (ALL, [{"path": "../../etc", "type": "x.Pooling"}], "one folder for its pooling"),
    (ALL, {"type": "Pooling"}, "not a list of modules"),
    (TEXTS, {"similarity_fn_name": "dot"}, "similarity_fn_name"),
    (TEXTS, {"prompts": {"query": 3}}, "prompts"),
    (TEXTS, {"prompts": {"query": "a\nb"}}, "line break"),
    (TEXTS, {"prompts": {"passage": "passage:"}}, "end with a space"),
    (TEXTS, {"prompts": {"passage": "the tide " * 20}}, "a quarter of the window"),
    (BERT, {"max_seq_length": 512}, "max_seq_length"),
    (BERT, {"max_seq_length": 8}, "8 tokens"),
    (TOKENIZER, {"model": {"type": "Unigram"}}, "model is 'Unigram'"),
    (TOKENIZER, {"pre_tokenizer": None}, "pre_tokenizer"),
    (TOKENIZER, {"post_processor": None}, "post_processor"),
    (TOKENIZER, {"normalizer": {"type": "BertNormalizer"}}, "tokenizer.json"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content", "says"), REFUSED)
def test_what_cannot_be_computed_is_refused_by_name(folder: Path, file: str, content: Any, says: str) -> None:
    bert_kit.change(folder / file, content)
    with pytest.raises(errors.SetupError, match=re.escape(says)) as refused:
        conversion.convert(folder, folder.parent / "made", "m")
    assert refused.value.message.count(". ") == 0 and refused.value.hint
    assert [path.name for path in folder.parent.iterdir()] == ["published"]


def test_a_prompt_that_is_left_out_of_the_mean_is_refused(folder: Path) -> None:
    bert_kit.change(folder / POOLING, {"include_prompt": False})
    assert describe(folder, Options()).prefixes == Prefixes()
    with pytest.raises(errors.SetupError, match="include_prompt"):
        describe(folder, Options(passage_prefix="passage: "))


def test_capital_letters_that_the_model_never_saw_are_refused(folder: Path) -> None:
    words = bert_kit.tokenizer()
    words["normalizer"]["lowercase"] = False
    bert_kit.change(folder / TOKENIZER, words)
    conversion.convert(folder, folder.parent / "made", "m")
    bert_kit.change(folder / BERT, {"do_lower_case": True})
    with pytest.raises(errors.SetupError, match="do_lower_case"):
        conversion.convert(folder, folder.parent / "other", "m")


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER, "model.safetensors", POOLING])
@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff" * 50, b"[" * 100_000])
def test_files_that_are_missing_or_damaged_are_named(folder: Path, name: str, content: bytes | None) -> None:
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises(errors.SetupError, match=re.escape(name)):
        conversion.convert(folder, folder.parent / "made", "m")


@pytest.mark.parametrize("change", [{"type_vocab_size": 1}, {"num_attention_heads": 3}])
def test_scorers_are_checked_too(tmp_path: Path, change: dict[str, Any]) -> None:
    bert_kit.publish(tmp_path / "m", Sizes(1, 64, 2, 64, scores=True))
    bert_kit.change(tmp_path / "m" / CONFIG, change)
    with pytest.raises(errors.SetupError, match=next(iter(change))):
        conversion.convert(tmp_path / "m", tmp_path / "made", "m")


def test_a_classifier_of_several_classes_is_refused(tmp_path: Path) -> None:
    made = bert_kit.publish(tmp_path / "m", Sizes(1, 64, 2, 64, scores=True))
    tensors = {name if "classifier" in name else f"bert.{name}": array for name, array in made.items()}
    save_file(tensors | {"classifier.weight": np.zeros((3, 64), np.float32)}, tmp_path / "m/model.safetensors")
    with pytest.raises(errors.SetupError, match=r"classifier\.weight"):
        conversion.convert(tmp_path / "m", tmp_path / "made", "m")


def test_a_model_of_one_kind_does_not_pass_for_the_other(folder: Path, tmp_path: Path) -> None:
    bert_kit.publish(tmp_path / "scorer", Sizes(1, 64, 2, 64, scores=True))
    conversion.convert(tmp_path / "scorer", tmp_path / "scores", "m")
    conversion.convert(folder, tmp_path / "vectors", "m")
    with pytest.raises(errors.SetupError, match="makes no vectors"):
        artifact.read_embedder(tmp_path / "scores")
    with pytest.raises(errors.SetupError, match="scores no pairs"):
        artifact.read_reranker(tmp_path / "vectors")
    with pytest.raises(errors.SetupError, match="not been converted") as refused:
        artifact.read_embedder(folder)
    assert "models convert" in refused.value.hint


class TestTensorFile:
    """The reader of tensors, beside the library that writes them."""

    def stored(self, tmp_path: Path, content: bytes) -> TensorFile:
        (tmp_path / "t").write_bytes(content)
        return TensorFile(tmp_path / "t")

    @pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
    def test_numbers_are_read_as_they_were_written(self, tmp_path: Path, kind: type) -> None:
        array = np.random.default_rng(3).normal(size=(5, 7)).astype(kind)
        file = self.stored(tmp_path, save({"other": np.arange(9), "a": array}, {"format": "pt"}))
        assert np.array_equal(file.read("a", 5, 7), array.astype(np.float32))
        assert set(file.names) == {"a", "other"}

    def test_half_floats_of_the_other_kind_too(self, tmp_path: Path) -> None:
        numbers = np.array([1.0, -2.5, 3.140625, 1e30], np.float32)
        upper = (numbers.view(np.uint32) >> 16).astype("<u2").tobytes()
        header = json.dumps({"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
        read = self.stored(tmp_path, struct.pack("<Q", len(header)) + header + upper).read("a", 4)
        assert np.allclose(read, numbers, rtol=2**-7) and read[0] == 1.0 and read[1] == -2.5

    @pytest.mark.parametrize(
        ("facts", "says"),
        [
            ({"dtype": "I64"}, "as I64"),
            ({"dtype": ["F32"]}, "cannot be read"),
            ({"shape": [3]}, "dimensions"),
            ({"shape": None}, "cannot be read"),
            ({"data_offsets": [0, 12]}, "where it says"),
            ({"data_offsets": [-8, 8]}, "where it says"),
            ({"data_offsets": [8, 24]}, "where it says"),
            ({"data_offsets": [0, 1 << 70]}, "where it says"),
            ({"data_offsets": [0]}, "cannot be read"),
            ({"data_offsets": ["a", "b"]}, "cannot be read"),
        ],
    )
    def test_a_header_that_lies_is_refused(self, tmp_path: Path, facts: dict[str, Any], says: str) -> None:
        header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | facts}).encode()
        file = self.stored(tmp_path, struct.pack("<Q", len(header)) + header + bytes(16))
        with pytest.raises(errors.SetupError, match=says):
            file.read("a", 4)

    @pytest.mark.parametrize("size", [0, 1, 7, 8])
    def test_a_short_file_is_refused(self, tmp_path: Path, size: int) -> None:
        with pytest.raises(errors.SetupError):
            self.stored(tmp_path, save({"a": np.zeros(4, np.float32)})[:size])

    @pytest.mark.parametrize("length", [1 << 62, 10_000_000, 17])
    def test_a_length_beyond_the_file_is_not_read(self, tmp_path: Path, length: int) -> None:
        with pytest.raises(errors.SetupError, match="not a safetensors file"):
            self.stored(tmp_path, struct.pack("<Q", length) + b"{}" * 8)

    @pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
    def test_numbers_that_are_none_are_refused(self, tmp_path: Path, number: float) -> None:
        file = self.stored(tmp_path, save({"a": np.array([1, number], np.float32)}))
        with pytest.raises(errors.SetupError, match="not finite"):
            file.read("a", 2)
        with pytest.raises(errors.SetupError, match="no tensor b"):
            file.read("b", 2)


def test_the_command_converts_and_says_how_to_use_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    words = ["models", "convert", "published", "--query-prefix", "query: ", "--passage-prefix", "passage: "]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    card = artifact.read(folder.parent / "published-int8")
    assert (card.prefix, card.question_prefix) == ("passage: ", "query: ")
    assert card.fingerprint in result.stdout and "DATADISTILLER_EMBEDDING_MODEL=published-int8" in result.stdout
    with pytest.raises(errors.SetupError, match="already"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    with pytest.raises(errors.SetupError, match="58 letters"):
        CliRunner().invoke(app, [*words, "--name", "../up"], catch_exceptions=False)
    words = ["models", "convert", "published", "--output", str(folder.parent / "to/here"), "--pooling", "cls"]
    assert CliRunner().invoke(app, [*words, "--max-tokens", "64"], catch_exceptions=False).exit_code == 0
    assert (artifact.read(folder.parent / "to/here").pooling, artifact.read(folder.parent / "to/here").window) == (
        "cls",
        64,
    )


def test_a_scorer_is_told_from_its_folder(tmp_path: Path) -> None:
    bert_kit.publish(tmp_path / "m", Sizes(1, 64, 2, 64, scores=True))
    words = ["models", "convert", str(tmp_path / "m"), "--output", str(tmp_path / "made")]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "DATADISTILLER_RERANKING_MODEL=" in result.stdout
    with pytest.raises(errors.SetupError, match="no pooling"):
        CliRunner().invoke(app, [*words[:-1], str(tmp_path / "x"), "--pooling", "cls"], catch_exceptions=False)


def test_a_folder_that_cannot_be_written_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(errors.SetupError, match="cannot be written"):
        conversion.convert(folder, tmp_path / "file" / "made", "m")
