"""A model as a folder, the one that ships with DataDistiller or a converted one: its files, how they are verified, and
what names it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from datadistiller import errors

#: The bundled model; ``tools/build_model.py`` made it.
BUNDLED = Path(__file__).parent / "data"
CARD, TOKENIZER = "model.json", "tokenizer.json"
_HINT = "Install datadistiller again, or make the model again with 'datadistiller models convert'."
_NOT_CONVERTED = "Name a folder that 'datadistiller models convert' made."


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file as it was published."""

    path: Path
    size: int  # bytes
    sha256: str  # hexadecimal

    def verified(self) -> Path:
        """The path, once size and hash are right (23 MB take about 20 ms); ``errors.SetupError`` otherwise."""
        try:
            with self.path.open("rb") as file:
                whole = self.path.stat().st_size == self.size
                if whole and hashlib.file_digest(file, "sha256").hexdigest() == self.sha256:
                    return self.path
        except OSError as error:
            raise errors.SetupError(f"The model {self.path} cannot be read.", hint=_HINT) from error
        raise errors.SetupError(f"The model {self.path} is damaged or incomplete.", hint=_HINT)


@dataclass(frozen=True, slots=True)
class Card:
    """What ``model.json`` says about a model; reading it costs nothing, its files are verified when opened."""

    name: str
    model: ModelFile
    tokenizer: ModelFile
    pooling: str
    dim: int
    window: int  # tokens, special ones included
    prefix: str  # put before every text that is searched
    check: str = ""  # what the native engine's check of itself must give; empty: not known
    own_question_prefix: str | None = None  # put before every question, if that is another one

    @property
    def question_prefix(self) -> str:
        """What is put before every question."""
        return self.prefix if self.own_question_prefix is None else self.own_question_prefix

    @property
    def scores(self) -> bool:
        """Whether it scores pairs of a question and a text, instead of making vectors."""
        return self.pooling == "score"

    @property
    def fingerprint(self) -> str:
        """Names the model exactly: vectors of two fingerprints never mix."""
        parts = [self.model.sha256, self.tokenizer.sha256, self.pooling, self.dim, self.window, self.prefix]
        if self.own_question_prefix is not None:
            parts.append(self.own_question_prefix)
        digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
        return f"{self.name}:{self.pooling}:{self.dim}:{digest[:24]}"


def read(folder: Path = BUNDLED) -> Card:
    """The card of the model in ``folder``; ``errors.SetupError`` if it is missing or damaged."""
    if not (folder / CARD).exists() and (folder / "config.json").exists():
        raise errors.SetupError(f"The model in {folder} has not been converted yet.", hint=_NOT_CONVERTED)
    try:
        card = json.loads((folder / CARD).read_bytes())
        model, tokenizer = (
            ModelFile(folder / facts["file"], int(facts["bytes"]), str(facts["sha256"]))
            for facts in (card["model"], card["tokenizer"])
        )
        numbers = (int(card["dim"]), int(card["window"]))
        words = (card["prefix"], card["check"], card.get("question_prefix"))
        return Card(card["name"], model, tokenizer, card["pooling"], *numbers, *words)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sentence = f"The model in {folder} cannot be read: {CARD} is missing or damaged."
        raise errors.SetupError(sentence, hint=_HINT if folder == BUNDLED else _NOT_CONVERTED) from error


def read_embedder(folder: Path = BUNDLED) -> Card:
    """As ``read``, of a model that makes vectors."""
    card = read(folder)
    if card.scores:
        raise errors.SetupError(
            f"The model {card.name} scores pairs, it makes no vectors.",
            hint="It is one for DATADISTILLER_RERANKING_MODEL.",
        )
    return card


def read_reranker(folder: Path) -> Card:
    """As ``read``, of a model that scores pairs."""
    card = read(folder)
    if not card.scores:
        raise errors.SetupError(
            f"The model {card.name} makes vectors, it scores no pairs.",
            hint="It is one for DATADISTILLER_EMBEDDING_MODEL.",
        )
    return card
