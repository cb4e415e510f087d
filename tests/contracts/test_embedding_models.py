"""Converted models on both engines, beside what the published ones compute in full precision; and their prefixes."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest

from datadistiller import errors, wiring
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding import artifact, conversion
from datadistiller.embedding.native import build
from datadistiller.embedding.native.embedder import NativeEmbedder
from datadistiller.embedding.native.engine import Engine
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.embedding.published import Options
from datadistiller.embedding.texts import TextEmbedder
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.model import Block, BlockKind, Page, ParsedDocument
from datadistiller.settings import Settings
from tests.contracts import bert_kit, native_kit
from tests.contracts.bert_kit import Sizes

#: Lowest cosine to full precision and between the engines, for random weights of one or two layers; and of twelve.
CLOSE, CLOSE_DEEP = 0.999, 0.997
TEXTS = ["the tide", "bread: how high is the tide?", "x", "lighthouse kept steam in the harbour", ""]
#: The shapes of MiniLM-L12, gte-small and e5-small; of bge-small; of the base models; and odd ones. Layers repeat.
SHAPES = {
    "minilm": (Sizes(2, 384, 12, 1536), "mean"),
    "bge-small": (Sizes(1, 384, 12, 1536, positions=512), "cls"),
    "base": (Sizes(1, 768, 12, 3072), "mean"),
    "twelve layers": (Sizes(12, 128, 4, 256), "cls"),
    "no multiple of anything": (Sizes(1, 192, 2, 320, positions=67, kinds=1), "mean"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_both_engines_compute_what_the_published_model_does(tmp_path: Path, name: str) -> None:
    native_kit.needed()
    sizes, pooling = SHAPES[name]
    made = bert_kit.publish(tmp_path / "published", sizes, seed=len(name), pooling=pooling)
    card = conversion.convert(tmp_path / "published", tmp_path / "made", "m")
    ids = WordpieceTokenizer(card).ids(TEXTS)
    expected = np.array([bert_kit.vector(made, sizes.heads, each, pooling) for each in ids])
    close, likeness = CLOSE_DEEP if sizes.layers > 2 else CLOSE, expected @ expected.T
    assert likeness[~np.eye(len(TEXTS), dtype=bool)].max() < close - 0.005  # or being close would mean nothing
    native, onnx = NativeEmbedder(2, card).embed(TEXTS), OnnxEmbedder(1, card).embed(TEXTS)
    assert np.sum(native * expected, axis=1).min() > close
    assert np.sum(onnx * expected, axis=1).min() > close
    assert np.sum(native * onnx, axis=1).min() > close


def test_every_kernel_gives_the_bits_of_the_plain_loops(tmp_path: Path) -> None:
    native_kit.needed()
    bert_kit.publish(tmp_path / "published", Sizes(1, 768, 12, 3072), pooling="cls")
    model = conversion.convert(tmp_path / "published", tmp_path / "made", "m").model.path
    texts = [[2, 7, 3], [2, 3], list(range(13))]
    expected = Engine(model, "reference").encode(texts)
    for kernels in native_kit.fast_kernels():
        assert np.array_equal(Engine(model, kernels).encode(texts), expected)


async def test_where_the_native_engine_is_not_compiled_onnx_runtime_computes_what_was_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native_kit.needed()
    bert_kit.publish(tmp_path / "published", Sizes(1, 64, 2, 64))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(build, "LIBRARY", tmp_path / "nothing.so")
        card = conversion.convert(tmp_path / "published", tmp_path / "made", "m")
    whole = conversion.convert(tmp_path / "published", tmp_path / "whole", "m")
    assert (card.check, card.fingerprint) == ("", whole.fingerprint) and whole.check
    with pytest.raises(errors.SetupError, match="could not say what it should compute"):
        NativeEmbedder(1, card)
    settings = Settings(embedding_model=str(tmp_path / "made"))
    assert (await wiring.open_embedder(settings)).engine == "ONNX Runtime"
    settings = Settings(embedding_model=str(tmp_path / "whole"))
    assert (await wiring.open_embedder(settings)).engine.startswith("native (")


@pytest.fixture(scope="module", params=[OnnxEmbedder, NativeEmbedder])
def engine(request: pytest.FixtureRequest) -> type[OnnxEmbedder | NativeEmbedder]:
    """Each engine there is."""
    if request.param is NativeEmbedder:
        native_kit.needed()
    found: type[OnnxEmbedder | NativeEmbedder] = request.param
    return found


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> tuple[artifact.Card, artifact.Card]:
    """One model without prefixes, and with those of e5."""
    folder = tmp_path_factory.mktemp("e5")
    bert_kit.publish(folder / "published", Sizes(1, 128, 4, 128))
    prefixes = Options(query_prefix="query: ", passage_prefix="passage: ")
    plain, prefixed = (
        conversion.convert(folder / "published", folder / name, "e5", options)
        for name, options in (("plain", Options()), ("prefixed", prefixes))
    )
    assert plain.model.sha256 == prefixed.model.sha256  # the weights are the same, the model is another one
    assert plain.fingerprint != prefixed.fingerprint
    return plain, prefixed


def test_each_prefix_is_put_where_it_belongs(
    engine: type[TextEmbedder], cards: tuple[artifact.Card, artifact.Card]
) -> None:
    plain, prefixed = (engine(card=card) for card in cards)  # type: ignore[call-arg]
    assert np.array_equal(prefixed.embed(TEXTS), plain.embed([f"passage: {text}" for text in TEXTS]))
    for text in TEXTS:
        assert np.array_equal(prefixed.embed_question(text), plain.embed([f"query: {text}"])[0])
    assert not np.array_equal(prefixed.embed_question("tide"), prefixed.embed(["tide"])[0])


def test_a_text_fits_the_window_with_its_prefix_or_is_refused(
    engine: type[TextEmbedder], cards: tuple[artifact.Card, artifact.Card]
) -> None:
    embedder, tokenizer = engine(card=cards[1]), WordpieceTokenizer(cards[1])  # type: ignore[call-arg]
    room = tokenizer.window - tokenizer.special_tokens
    assert tokenizer.special_tokens == 4  # [CLS] passage : [SEP]
    assert tokenizer.count(["tide " * room]) == [tokenizer.window]
    assert embedder.embed(["tide " * room]).shape == (1, 128)
    with pytest.raises(errors.BrokenInvariant, match="does not fit"):
        embedder.embed(["tide " * (room + 1)])
    cut = embedder.embed_question("tide " * 5000)
    assert np.array_equal(cut, embedder.embed_question("tide " * room))


@pytest.mark.parametrize("text", ["the tide ", "lighthousekeeper ", "x,", "a. b! ", "\u0301e\u0301 "])
def test_chunks_are_measured_with_the_prefix(cards: tuple[artifact.Card, artifact.Card], text: str) -> None:
    tokenizer = WordpieceTokenizer(cards[1])
    page = (text * 300).strip()
    document = ParsedDocument(
        [Page(1, page, [Block(BlockKind.PARAGRAPH, 0, len(page))])], "the tide in the harbour", "test", "text/plain"
    )
    chunks = Chunker(tokenizer, 1000).chunk(uuid.UUID(int=1), document, "tide.txt")
    texts = [f"{chunk.context}\n{chunk.text}" if chunk.context else chunk.text for chunk in chunks]
    ids = tokenizer.ids(texts)
    assert len(chunks) > 1
    assert [chunk.tokens for chunk in chunks] == [len(each) for each in ids]
    assert max(map(len, ids)) <= tokenizer.window
    assert all(each[1] == tokenizer.pieces(["passage"])[0][0] for each in ids)
