"""The tokenizer of a model, through the ``tokenizers`` library."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.embedding import artifact


class WordpieceTokenizer:
    """Implements ``chunking.Tokenizer``. Loads in about 30 ms and 10 MB; safe to call from several threads."""

    def __init__(self, card: artifact.Card | None = None) -> None:
        """Opens the tokenizer of ``card`` (the bundled model); ``errors.SetupError`` if it is damaged."""
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # no thread pool: the processes are the parallelism
        import tokenizers  # here, so that importing this module costs nothing

        card = card or artifact.read()
        file = card.tokenizer.verified()
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise errors.SetupError(
                f"The tokenizer {file} cannot be used.", hint="Install datadistiller again."
            ) from error
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a document is text like any other
        self._window = card.window
        self._prefix, self._question_prefix = card.prefix, card.question_prefix
        # It ends with a space, so it is as many tokens before any text.
        self._special = len(self._tokenizer.encode(card.prefix))

    @property
    def window(self) -> int:
        """The most tokens of one text the model reads, special tokens included."""
        return self._window

    @property
    def special_tokens(self) -> int:
        """[CLS] and [SEP], and what the model wants before every text."""
        return self._special

    def offsets(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Code-point ranges of the tokens of each text, ``int32[tokens, 2]``, special tokens and prefix left out."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(encoding.offsets, np.int32).reshape(-1, 2) for encoding in encodings]

    def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, special tokens and prefix included."""
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(self._prefixed(texts))]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, special tokens and prefix included; never truncated."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(self._prefixed(texts))]

    def question_ids(self, text: str) -> list[int]:
        """The token ids of a question, its own prefix included; one longer than the window is cut at its end."""
        ids: list[int] = self._tokenizer.encode(self._question_prefix + _encodable(text)).ids
        return ids if len(ids) <= self._window else [*ids[: self._window - 1], ids[-1]]

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text by itself: no special token, no prefix."""
        encodings = self._tokenizer.encode_batch_fast(list(map(_encodable, texts)), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    @property
    def marks(self) -> tuple[int, int]:
        """The ids of [CLS] and [SEP]."""
        first, last = self._tokenizer.encode("").ids
        return first, last

    def _prefixed(self, texts: Sequence[str]) -> list[str]:
        return [self._prefix + text for text in texts] if self._prefix else list(texts)


def _encodable(text: str) -> str:
    """A question may hold anything, lone surrogates too."""
    return text.encode("utf-8", "replace").decode()
