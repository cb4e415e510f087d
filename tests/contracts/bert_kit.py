"""Published models of the BERT family as they lie in a folder, with random weights, and what they compute in full
precision: the textbook's forward pass, written apart from both engines and from the conversion."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Tensors = Mapping[str, NDArray[np.float32]]

WORDS = (
    "the", "a", "of", "in", "is", "was", "how", "when", "what", "who", "tide", "harbour", "bread", "lighthouse",
    "steam", "query", "passage", "kept", "high",
)  # fmt: skip
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;?!-'"


@dataclass(frozen=True)
class Sizes:
    """What ``config.json`` says of a model."""

    layers: int = 2
    dim: int = 128
    heads: int = 4
    inner: int = 256
    positions: int = 96
    kinds: int = 2
    vocabulary: int = 0  # 0: as many as the tokenizer has words
    scores: bool = False


def tokenizer() -> dict[str, Any]:
    """A tokenizer of word pieces with a small vocabulary, as it is published: it cuts and pads."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *WORDS, *(c for c in CHARACTERS if c not in WORDS), *(f"##{c}" for c in CHARACTERS)]

    def part(name: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": kind}}

    def text(name: str, kind: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [part("[CLS]", 0), text("A", 0), part("[SEP]", 0)]
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [
            {"id": n, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True} for n, name in enumerate(special)
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": single, "pair": [*single, text("B", 1), part("[SEP]", 1)],
            "special_tokens": {name: {"id": name, "ids": [special.index(name)], "tokens": [name]}
                               for name in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {piece: n for n, piece in enumerate(pieces)}},
    }  # fmt: skip


def tensors(sizes: Sizes, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random tensors by their published names, of about the sizes that trained ones have."""
    rng = np.random.default_rng(seed)
    found: dict[str, NDArray[np.float32]] = {}

    def normal(*dims: int, size: float, around: float = 0.0) -> NDArray[np.float32]:
        return (around + rng.normal(0, size, dims)).astype(np.float32)

    def linear(name: str, outputs: int, inputs: int) -> None:
        found[f"{name}.weight"] = normal(outputs, inputs, size=1.2 * inputs**-0.5)
        found[f"{name}.bias"] = normal(outputs, size=0.1)

    def norm(name: str) -> None:
        found[f"{name}.weight"] = normal(sizes.dim, size=0.1, around=1.0)
        found[f"{name}.bias"] = normal(sizes.dim, size=0.1)

    for name, rows in (("word", sizes.vocabulary), ("position", sizes.positions), ("token_type", sizes.kinds)):
        found[f"embeddings.{name}_embeddings.weight"] = normal(rows, sizes.dim, size=0.05)
    norm("embeddings.LayerNorm")
    for n in range(sizes.layers):
        at = f"encoder.layer.{n}"
        for name in ("query", "key", "value"):
            linear(f"{at}.attention.self.{name}", sizes.dim, sizes.dim)
        linear(f"{at}.attention.output.dense", sizes.dim, sizes.dim)
        norm(f"{at}.attention.output.LayerNorm")
        linear(f"{at}.intermediate.dense", sizes.inner, sizes.dim)
        linear(f"{at}.output.dense", sizes.dim, sizes.inner)
        norm(f"{at}.output.LayerNorm")
    if sizes.scores:
        linear("pooler.dense", sizes.dim, sizes.dim)
    return found


def publish(
    folder: Path, sizes: Sizes = Sizes(), seed: int = 0, pooling: str = "mean", **files: Any
) -> dict[str, NDArray[np.float32]]:
    """Writes such a folder and gives its tensors; ``files`` are more of them, a dot in a name as ``__``."""
    words = tokenizer()
    sizes = sizes if sizes.vocabulary else replace(sizes, vocabulary=len(words["model"]["vocab"]) + 3)
    config = {
        "model_type": "bert", "architectures": ["BertForSequenceClassification" if sizes.scores else "BertModel"],
        "hidden_act": "gelu", "hidden_size": sizes.dim, "intermediate_size": sizes.inner, "layer_norm_eps": 1e-12,
        "max_position_embeddings": sizes.positions, "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers, "type_vocab_size": sizes.kinds, "vocab_size": sizes.vocabulary,
        "position_embedding_type": "absolute",
    }  # fmt: skip
    made = tensors(sizes, seed)
    stored = dict(made)
    if sizes.scores:
        rng = np.random.default_rng(seed + 1)
        made["classifier.weight"] = rng.normal(0, 0.2, (1, sizes.dim)).astype(np.float32)
        made["classifier.bias"] = rng.normal(0, 0.2, 1).astype(np.float32)
        stored = {name if name.startswith("classifier") else f"bert.{name}": array for name, array in made.items()}
    folder.mkdir(parents=True)
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    contents = {"config.json": config, "tokenizer.json": words}
    if not sizes.scores:
        contents["1_Pooling/config.json"] = {
            "word_embedding_dimension": sizes.dim,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
        }
    contents |= {name.replace("__", "."): content for name, content in files.items()}
    for name, content in contents.items():
        change(folder / name, content)
    return made


def change(file: Path, content: Any) -> None:
    """Writes a file of settings; of an object that is there already only the fields given."""
    file.parent.mkdir(exist_ok=True)
    if file.exists() and isinstance(content, dict):
        content = json.loads(file.read_bytes()) | content
    file.write_text(json.dumps(content), encoding="utf-8")


def _norm(x: NDArray[np.float32], made: Tensors, name: str) -> NDArray[np.float32]:
    centred = x - x.mean(1, keepdims=True)
    unit = centred / np.sqrt((centred**2).mean(1, keepdims=True) + np.float32(1e-12))
    return np.asarray(unit * made[f"{name}.weight"] + made[f"{name}.bias"])


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """With the error function within 2e-7 (Abramowitz and Stegun 7.1.26): NumPy has none."""
    z = np.abs(x).astype(np.float64) / 2**0.5
    t = 1 / (1 + 0.3275911 * z)
    tail = np.polyval([1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0], t) * np.exp(-z * z)
    return np.asarray(0.5 * x * (1 + np.sign(x) * (1 - tail)), np.float32)


def _linear(x: NDArray[np.float32], made: Tensors, name: str) -> NDArray[np.float32]:
    return np.asarray(x @ made[f"{name}.weight"].T + made[f"{name}.bias"])


def _attention(x: NDArray[np.float32], made: Tensors, at: str, heads: int) -> NDArray[np.float32]:
    queries, keys, values = (
        _linear(x, made, f"{at}.self.{name}").reshape(len(x), heads, -1).transpose(1, 0, 2)
        for name in ("query", "key", "value")
    )
    scores = queries @ keys.transpose(0, 2, 1) / np.sqrt(np.float32(queries.shape[-1]))
    chances = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = (chances / chances.sum(-1, keepdims=True)) @ values
    return _linear(mixed.transpose(1, 0, 2).reshape(len(x), -1), made, f"{at}.output.dense")


def rows(made: Tensors, heads: int, ids: Sequence[int], kinds: Sequence[int]) -> NDArray[np.float32]:
    """The last rows ``float32[tokens, dim]`` of one text."""
    x = made["embeddings.word_embeddings.weight"][list(ids)]
    x = x + made["embeddings.position_embeddings.weight"][: len(ids)]
    x = _norm(x + made["embeddings.token_type_embeddings.weight"][list(kinds)], made, "embeddings.LayerNorm")
    for n in range(1 + max(int(name.split(".")[2]) for name in made if name.startswith("encoder."))):
        at = f"encoder.layer.{n}"
        mixed = _attention(x, made, f"{at}.attention", heads)
        x = _norm(x + mixed, made, f"{at}.attention.output.LayerNorm")
        inner = _gelu(_linear(x, made, f"{at}.intermediate.dense"))
        x = _norm(x + _linear(inner, made, f"{at}.output.dense"), made, f"{at}.output.LayerNorm")
    return x


def vector(made: Tensors, heads: int, ids: Sequence[int], pooling: str) -> NDArray[np.float32]:
    """The unit vector of one text."""
    found = rows(made, heads, ids, [0] * len(ids))
    pooled = found.mean(0) if pooling == "mean" else found[0]
    return np.asarray(pooled / np.linalg.norm(pooled))


def score(made: Tensors, heads: int, ids: Sequence[int], kinds: Sequence[int]) -> float:
    """The logit of one pair."""
    pooled = np.tanh(_linear(rows(made, heads, ids, kinds)[:1], made, "pooler.dense"))
    return float(_linear(pooled, made, "classifier")[0, 0])
