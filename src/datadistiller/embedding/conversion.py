"""Makes a model that both engines compute from published weights, byte for byte the same every time.

The bundled model was made by this (``tools/build_model.py``), others are by ``datadistiller models convert``. Weights
are rounded to eight bits, one scale per output and per word: one scale per tensor ruins them (cosine .94 to the
original instead of .995).
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.embedding import artifact, published, weights
from datadistiller.embedding.native import build, selfcheck
from datadistiller.embedding.native.engine import Engine
from datadistiller.embedding.tensor_file import TensorFile

MODEL_FILE = "model.int8.weights"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,57}")
_TOKENIZER_PARTS = (("model", "WordPiece"), ("pre_tokenizer", "BertPreTokenizer"), ("normalizer", "BertNormalizer"))

Parts = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Original:
    """Tensors as they were published: of positions and kinds of tokens there may be more than are kept."""

    tensors: TensorFile
    positions: int
    kinds: int = 2
    prefix: str = ""  # of the names of all but the classifier


def write_weights(target: Path, name: str, shape: weights.Shape, original: Original) -> None:
    """Writes the weights in eight bits."""
    source, tensors = _Source(original.tensors, original.prefix), original.tensors
    rounded, scales = weights.quantized_rows(source("embeddings.word_embeddings.weight", shape.vocabulary, shape.dim))
    places = source("embeddings.position_embeddings.weight", original.positions, shape.dim)[: shape.positions]
    kinds = source("embeddings.token_type_embeddings.weight", original.kinds, shape.dim)[: shape.kinds]
    parts: Parts = {"words": rounded, "word_scales": scales}
    parts["positions"] = np.concatenate([places + kind for kind in kinds])
    parts |= source.norm("norm", "embeddings.LayerNorm", shape.dim)
    for n in range(shape.layers):
        parts |= _layer(str(n), source, f"encoder.layer.{n}", shape)
    if shape.pooling == weights.SCORE:
        parts |= source.linear("pooler", "pooler.dense", shape.dim, shape.dim)
        parts["classifier.weights"] = tensors.read("classifier.weight", 1, shape.dim)[0]
        parts["classifier.bias"] = tensors.read("classifier.bias", 1)
    weights.write(target, name, shape, parts)


class _Source:
    def __init__(self, tensors: TensorFile, prefix: str) -> None:
        self._tensors, self._prefix = tensors, prefix

    def __call__(self, name: str, *dims: int) -> NDArray[np.float32]:
        return self._tensors.read(f"{self._prefix}{name}", *dims)

    def linear(self, name: str, old: str, outputs: int, inputs: int) -> Parts:
        return weights.packed_linear(name, self(f"{old}.weight", outputs, inputs), self(f"{old}.bias", outputs))

    def norm(self, name: str, old: str, dim: int) -> Parts:
        return {f"{name}.gain": self(f"{old}.weight", dim), f"{name}.bias": self(f"{old}.bias", dim)}


def _layer(name: str, source: _Source, old: str, shape: weights.Shape) -> Parts:
    dim, inner = shape.dim, shape.inner
    inward = [f"{old}.attention.self.{each}" for each in ("query", "key", "value")]
    matrix = np.concatenate([source(f"{each}.weight", dim, dim) for each in inward])
    parts = weights.packed_linear(
        f"{name}.attention_in", matrix, np.concatenate([source(f"{each}.bias", dim) for each in inward])
    )
    parts |= source.linear(f"{name}.attention_out", f"{old}.attention.output.dense", dim, dim)
    parts |= source.linear(f"{name}.inner", f"{old}.intermediate.dense", inner, dim)
    parts |= source.linear(f"{name}.outer", f"{old}.output.dense", dim, inner)
    parts |= source.norm(f"{name}.attention_norm", f"{old}.attention.output.LayerNorm", dim)
    return parts | source.norm(f"{name}.output_norm", f"{old}.output.LayerNorm", dim)


def write_tokenizer(tokenizer: Mapping[str, Any], target: Path) -> None:
    """Writes the tokenizer without its padding and truncation: nothing may ever be cut silently."""
    kept = {**tokenizer, "truncation": None, "padding": None}
    target.write_text(json.dumps(kept, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def write_card(folder: Path, name: str, model_file: str, prefixes: published.Prefixes) -> None:
    """Writes the sidecar the product reads: size and hash of each file, and what makes up the fingerprint.

    Where the native engine has not been compiled, nobody can say what it should compute: it will not be used then.
    """
    card: dict[str, object] = {"name": name}
    for part, file in (("model", model_file), ("tokenizer", artifact.TOKENIZER)):
        content = (folder / file).read_bytes()
        card[part] = {"file": file, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    shape = weights.read(folder / model_file).shape
    card |= {"pooling": weights.POOLINGS[shape.pooling], "dim": shape.dim, "window": shape.positions}
    card["prefix"] = prefixes.passage
    if prefixes.question != prefixes.passage:
        card["question_prefix"] = prefixes.question
    card["check"] = _check(folder / model_file) if build.LIBRARY.exists() else ""
    (folder / artifact.CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _check(model: Path) -> str:
    try:
        return selfcheck.digest(Engine(model, "reference"))
    except errors.BrokenInvariant as error:  # not even a number comes out
        raise errors.SetupError(
            "The model cannot be used: what it computes is not finite.", hint="Its weights are not those of a model."
        ) from error


def convert(source: Path, target: Path, name: str, options: published.Options | None = None) -> artifact.Card:
    """Converts the model in the folder ``source`` into the new folder ``target``.

    The same source, name and options give the same bytes. Takes some seconds for a small model, and memory of about
    three times the result.

    Raises ``errors.SetupError`` that names what does not fit; nothing is left behind then.
    """
    if not _NAME.fullmatch(name):
        raise errors.SetupError(
            "A model's name is up to 58 letters, digits, dots, hyphens and underscores.", hint="Give one with --name."
        )
    if target.exists():
        raise errors.SetupError(f"There is something at {target} already.", hint="Name a new folder with --output.")
    description = published.describe(source, options or published.Options())
    tokenizer = _tokenizer(source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=target.parent) as scratch:
            made = Path(scratch) / "model"
            made.mkdir()
            _write(source, made, f"{name}-int8", description, tokenizer)
            made.rename(target)
    except OSError as error:
        raise errors.SetupError(
            f"The converted model cannot be written to {target} ({error.strerror}).", hint="Choose another --output."
        ) from error
    return artifact.read(target)


def _write(
    source: Path, made: Path, name: str, description: published.Description, tokenizer: Mapping[str, Any]
) -> None:
    tensors = TensorFile(source / "model.safetensors")
    prefix = "bert." if any(each.startswith("bert.") for each in tensors.names) else ""
    original = Original(tensors, description.positions, description.kinds, prefix)
    write_weights(made / MODEL_FILE, name, description.shape, original)
    write_tokenizer(tokenizer, made / artifact.TOKENIZER)
    _try_tokenizer(made / artifact.TOKENIZER, description)
    write_card(made, name, MODEL_FILE, description.prefixes)


def _tokenizer(source: Path) -> Mapping[str, Any]:
    """The tokenizer, if it is one of word pieces between white space and punctuation, which chunks are measured by."""
    file = published.Settings(source / artifact.TOKENIZER, published.MAX_TOKENIZER)
    if not file.there:
        raise errors.SetupError(
            f"There is no {artifact.TOKENIZER} in {source}.", hint="Save the model's fast tokenizer there."
        )
    fields = file.fields()
    for part, wanted in _TOKENIZER_PARTS:
        found = fields.get(part)
        if not isinstance(found, dict) or found.get("type") != wanted:
            kind = found.get("type") if isinstance(found, dict) else None
            raise file.refused(f"says {part} is {kind!r:.40}; only {wanted!r} can be used")
    lower = published.Settings(source / "sentence_bert_config.json").fields().get("do_lower_case")
    if lower and not fields["normalizer"].get("lowercase"):
        raise file.refused("keeps capital letters, but sentence_bert_config.json says do_lower_case is True")
    return fields


def _try_tokenizer(file: Path, description: published.Description) -> None:
    """Opens it as the product will: ids that have no word, and other special tokens, would only show later."""
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
        pair, longest = tokenizer.encode("", ""), max(tokenizer.get_vocab(with_added_tokens=True).values())
        alone = tokenizer.encode("")
        prefix = tokenizer.encode(description.prefixes.passage, add_special_tokens=False)
        question = tokenizer.encode(description.prefixes.question, add_special_tokens=False)
    except Exception as error:  # the library raises bare Exception
        sentence = f"The {artifact.TOKENIZER} of the model cannot be used."
        raise errors.SetupError(sentence, hint="Fetch it again.") from error
    if longest >= description.shape.vocabulary:
        raise errors.SetupError(
            f"The {artifact.TOKENIZER} has the token {longest}; vocab_size in {published.CONFIG} says "
            f"there are {description.shape.vocabulary}.",
            hint="The two files are not of one model.",
        )
    if len(alone.ids) != 2 or pair.ids != [*alone.ids, alone.ids[1]] or pair.type_ids != [0, 0, 1]:
        raise errors.SetupError(
            f"The post_processor in {artifact.TOKENIZER} does not put [CLS] before a text and [SEP] behind each.",
            hint="This model cannot be converted as it is.",
        )
    if max(len(prefix), len(question)) > description.shape.positions // 4:
        raise errors.SetupError("A prefix fills more than a quarter of the window.", hint="Make it shorter.")
