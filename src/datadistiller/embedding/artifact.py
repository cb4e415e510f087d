"""The model that ships with DataDistiller: which files it has, how they are verified, what names it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from datadistiller import errors

#: The bundled model; ``tools/build_model.py`` made it.
BUNDLED = Path(__file__).parent / "data"
_HINT = "Install datadistiller again."


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
            raise errors.SetupError(f"The embedding model {self.path} cannot be read.", hint=_HINT) from error
        raise errors.SetupError(f"The embedding model {self.path} is damaged or incomplete.", hint=_HINT)


@dataclass(frozen=True, slots=True)
class Card:
    """What ``model.json`` says about a model; reading it costs nothing, its files are verified when opened."""

    name: str
    model: ModelFile
    tokenizer: ModelFile
    pooling: str
    dim: int
    window: int  # tokens, special ones included
    prefix: str  # put before every text
    check: str = ""  # what the native engine's check of itself must give

    @property
    def fingerprint(self) -> str:
        """Names the model exactly: vectors of two fingerprints never mix."""
        parts = (self.model.sha256, self.tokenizer.sha256, self.pooling, self.dim, self.window, self.prefix)
        digest = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
        return f"{self.name}:{self.pooling}:{self.dim}:{digest[:24]}"


def read(folder: Path = BUNDLED) -> Card:
    """The card of the model in ``folder``; ``errors.SetupError`` if it is missing or damaged."""
    try:
        card = json.loads((folder / "model.json").read_bytes())
        model, tokenizer = (
            ModelFile(folder / facts["file"], int(facts["bytes"]), str(facts["sha256"]))
            for facts in (card["model"], card["tokenizer"])
        )
        numbers = (int(card["dim"]), int(card["window"]))
        return Card(card["name"], model, tokenizer, card["pooling"], *numbers, card["prefix"], card["check"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sentence = f"The embedding model in {folder} cannot be read: model.json is missing or damaged."
        raise errors.SetupError(sentence, hint=_HINT) from error
