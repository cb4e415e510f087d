"""Reads what a published model says of itself: a folder as sentence-transformers and Hugging Face lay it out.

Whatever the engines do not compute exactly as the model means it is refused, with the file and the field that says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datadistiller import errors
from datadistiller.embedding import weights

CONFIG = "config.json"
#: Longest file of settings read, and longest tokenizer, bytes.
MAX_SETTINGS, MAX_TOKENIZER = 1_000_000, 64_000_000
#: What the weights file and the kernels allow (``native/source/layout.h``).
MAX_LAYERS, MAX_DIM, MAX_INNER, MAX_VOCABULARY, MAX_POSITIONS, MAX_HEAD = 64, 4096, 16384, 1 << 20, 1024, 128
STEP, HEAD_STEP = 64, 32
#: Fewer tokens than this are no window for passages.
MIN_WINDOW = 64
_MODULES = {"Transformer", "Pooling", "Normalize"}
_POOLING_MODES = {"mean": "mean", "cls": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_SCORER = "BertForSequenceClassification"


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What is put before texts: before those that are searched, and before questions."""

    passage: str = ""
    question: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What a person says, which goes before what the folder says; None: as the folder has it."""

    pooling: str | None = None
    query_prefix: str | None = None
    passage_prefix: str | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Description:
    """What is needed to convert the model."""

    shape: weights.Shape
    prefixes: Prefixes
    positions: int  # in the tensors; the shape has those that are kept
    kinds: int  # of tokens, in the tensors


class Settings:
    """One JSON file of a folder. Asking for a field that is not as it must be raises ``errors.SetupError``."""

    def __init__(self, path: Path, limit: int = MAX_SETTINGS) -> None:
        """Reads the file; one that is not there has no fields."""
        self.path = path
        self.there = path.is_file()
        self.content: Any = {}
        if not self.there:
            return
        try:
            with path.open("rb") as file:
                content = file.read(limit + 1)
            if len(content) > limit:
                raise self.refused(f"is larger than {limit:,} bytes")
            self.content = json.loads(content)
        except (OSError, ValueError, RecursionError) as error:
            raise self.refused("cannot be read as JSON") from error

    def fields(self) -> Mapping[str, Any]:
        """The fields."""
        if not isinstance(self.content, dict):
            raise self.refused("is not an object in JSON")
        return self.content

    def number(self, name: str, least: int, most: int, step: int = 1) -> int:
        """A whole number within limits."""
        value = self.fields().get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refused(f"has no whole number {name}")
        if not least <= value <= most or value % step:
            steps = f" in steps of {step}" if step > 1 else ""
            raise self.refused(f"says {name} is {value}; what can be computed is {least} to {most}{steps}")
        return value

    def only(self, name: str, *allowed: Any) -> None:
        """Refuses any other value; a field that is missing or null is what it is by default, the first of these."""
        value = self.fields().get(name)
        if value is not None and value not in allowed:
            raise self.refused(f"says {name} is {value!r:.40}; only {allowed[0]!r} can be computed")

    def refused(self, what: str) -> errors.SetupError:
        """What is wrong with the file."""
        return errors.SetupError(f"The file {self.path} {what}.", hint="This model cannot be converted as it is.")


def describe(folder: Path, options: Options) -> Description:
    """What the folder and the options say. Raises ``errors.SetupError`` that names the field that does not fit."""
    config = Settings(folder / CONFIG)
    if not config.there:
        raise errors.SetupError(
            f"There is no {CONFIG} in {folder}.",
            hint="Name the folder of a published model: config.json, model.safetensors, tokenizer.json.",
        )
    shape = _shape(config)
    positions = config.number("max_position_embeddings", 1, 1 << 20)
    kinds = config.number("type_vocab_size", 1, 16)
    if _SCORER in (config.fields().get("architectures") or ()):
        if options.pooling or options.query_prefix or options.passage_prefix:
            raise errors.SetupError(
                f"The model in {folder} scores pairs: it has no pooling and no prefixes.", hint="Leave them out."
            )
        config.number("type_vocab_size", 2, 16)
        pooling, prefixes = "score", Prefixes()
    else:
        _check_modules(folder)
        prefixes = _prefixes(folder, options)
        pooling = _pooling(folder, options, shape.dim, prefixes)
    window = _window(folder, config, options, positions)
    shape = replace(shape, positions=window, pooling=weights.POOLINGS.index(pooling))
    return Description(shape, prefixes, positions, kinds)


def _shape(config: Settings) -> weights.Shape:
    """The sizes, each within what the kernels compute; window and pooling are still open."""
    if "model_type" not in config.fields():
        raise config.refused("has no model_type")
    config.only("model_type", "bert")
    config.only("hidden_act", "gelu")
    config.only("position_embedding_type", "absolute")
    config.only("is_decoder", False)
    config.only("add_cross_attention", False)
    config.only("quantization_config", None)
    dim = config.number("hidden_size", STEP, MAX_DIM, STEP)
    config.only("embedding_size", dim)
    heads = config.number("num_attention_heads", 1, dim)
    if dim % heads or dim // heads % HEAD_STEP or dim // heads > MAX_HEAD:
        raise config.refused(
            f"says num_attention_heads is {heads} for a hidden_size of {dim}; "
            f"a head must be {HEAD_STEP} to {MAX_HEAD} wide, in steps of {HEAD_STEP}"
        )
    epsilon = config.fields().get("layer_norm_eps", 1e-12)
    if not isinstance(epsilon, float) or not 0 <= epsilon < 1:
        raise config.refused("says layer_norm_eps is no small number")
    return weights.Shape(
        layers=config.number("num_hidden_layers", 1, MAX_LAYERS),
        dim=dim,
        heads=heads,
        inner=config.number("intermediate_size", STEP, MAX_INNER, STEP),
        vocabulary=config.number("vocab_size", 1, MAX_VOCABULARY),
        positions=1,
        pooling=0,
        epsilon=epsilon,
    )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Kind and path of what sentence-transformers would run one after the other."""
    modules = Settings(folder / "modules.json")
    if not modules.there:
        return []
    try:
        return [(str(each["type"]).rsplit(".", 1)[-1], str(each["path"])) for each in modules.content]
    except (KeyError, TypeError) as error:
        raise modules.refused("is not a list of modules, each with type and path") from error


def _check_modules(folder: Path) -> None:
    """A vector is the pooled one, of length 1: whatever else is done to it would be left out."""
    for kind, _ in _modules(folder):
        if kind not in _MODULES:
            raise Settings(folder / "modules.json").refused(f"has a module of type {kind:.40}, which is not computed")


def _pooling(folder: Path, options: Options, dim: int, prefixes: Prefixes) -> str:
    paths = [path for kind, path in _modules(folder) if kind == "Pooling"] or ["1_Pooling"]
    if len(paths) > 1 or not re.fullmatch(r"[\w.-]+", paths[0]) or ".." in paths[0]:
        raise Settings(folder / "modules.json").refused("does not name one folder for its pooling")
    found = Settings(folder / paths[0] / CONFIG)
    fields = found.fields()
    if found.there:
        found.only("word_embedding_dimension", dim)
        found.only("embedding_dimension", dim)
    if prefixes != Prefixes() and fields.get("include_prompt") is False:
        raise found.refused("says include_prompt is False; only True can be computed")
    if options.pooling:
        return options.pooling
    if not found.there:
        raise errors.SetupError(
            f"Nothing in {folder} says how a text's tokens become a vector: there is no {paths[0]}/{CONFIG}.",
            hint="Say what the model's page says: --pooling mean, or --pooling cls.",
        )
    modes = [name for name, value in fields.items() if name.startswith("pooling_mode_") and value]
    mode = fields.get("pooling_mode") or (modes[0] if len(modes) == 1 else modes)  # as it is written lately, or before
    if not isinstance(mode, str) or mode not in _POOLING_MODES:
        raise found.refused(f"says pooling_mode is {mode!s:.100}; 'mean' or 'cls' can be computed")
    return _POOLING_MODES[mode]


def _prefixes(folder: Path, options: Options) -> Prefixes:
    """What the folder calls prompts, unless a person says what they are."""
    settings = Settings(folder / "config_sentence_transformers.json")
    if not any(kind == "Normalize" for kind, _ in _modules(folder)):
        settings.only("similarity_fn_name", "cosine")  # a product of vectors of any length is something else
    stored = settings.fields().get("prompts") or {}
    if not isinstance(stored, dict) or not all(isinstance(text, str) for text in stored.values()):
        raise settings.refused("has prompts that are no texts")
    prompts: dict[str, str] = stored
    default = prompts.get(str(settings.fields().get("default_prompt_name")), "")
    passages = [prompts[name] for name in ("document", "passage", "corpus") if name in prompts]
    found = Prefixes(passages[0] if passages else default, prompts.get("query", default))
    if options.passage_prefix is not None:
        found = replace(found, passage=options.passage_prefix)
    if options.query_prefix is not None:
        found = replace(found, question=options.query_prefix)
    for text in (found.passage, found.question):
        if not text.isprintable():
            raise errors.SetupError("A prefix holds a line break or another control character.", hint="Leave it out.")
    if found.passage and not found.passage.endswith(" "):
        # Then it is as many tokens before any text, and what a chunk is measured by is right.
        raise errors.SetupError("The prefix of passages must end with a space.", hint="As in 'passage: '.")
    return found


def _window(folder: Path, config: Settings, options: Options, positions: int) -> int:
    """Tokens a text may have: what a person says, or what it was trained on, or all positions there are."""
    said = Settings(folder / "sentence_bert_config.json")
    if options.max_tokens is not None:
        window, source = options.max_tokens, "--max-tokens"
    elif said.fields().get("max_seq_length") is not None:
        window, source = said.number("max_seq_length", 1, 1 << 20), f"max_seq_length in {said.path.name}"
    else:
        window, source = positions, f"max_position_embeddings in {CONFIG}"
    if window > positions:
        raise config.refused(f"says max_position_embeddings is {positions}; {source} is {window}")
    if not MIN_WINDOW <= window <= MAX_POSITIONS:
        raise errors.SetupError(
            f"The window would be {window} tokens ({source}); {MIN_WINDOW} to {MAX_POSITIONS} are possible.",
            hint=f"Convert it with --max-tokens {min(positions, MAX_POSITIONS)}.",
        )
    return window
