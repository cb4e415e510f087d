"""Where in a document a chunk stands: its title and the headings above it, as one short line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from datadistiller.chunking import Tokenizer

SEPARATOR = " › "
#: Characters of a title or heading that are looked at: what is longer is none.
_MAX_CHARS = 400


class Outline:
    """Follows the headings of a document through its pages."""

    def __init__(self, title: str, filename: str, tokenizer: Tokenizer, most: int) -> None:
        """``most``: tokens a context may have, special tokens not counted."""
        self._title = _flat(title) or _flat(PurePosixPath(filename).stem) or _flat(filename)
        self._headings: list[tuple[int, str]] = []
        self._tokenizer = tokenizer
        self._most = most
        self._contexts: dict[tuple[str, ...], tuple[str, int]] = {}

    def enter(self, level: int, heading: str) -> None:
        """The text that follows stands under this heading, and no longer under those of its level and below."""
        self._headings = [*self._above(level), (level, _flat(heading))]

    def context(self, level: int = 0) -> tuple[str, int]:
        """Title and headings above a chunk, and how many tokens that is.

        ``level`` is that of the heading the chunk begins with, 0 if it begins with something else.
        """
        parts = [self._title]
        for _, heading in self._above(level) if level else self._headings:
            if heading and heading.casefold() != parts[-1].casefold():
                parts.append(heading)
        key = tuple(parts)
        if key not in self._contexts:
            self._contexts[key] = self._fitted(parts)
        return self._contexts[key]

    def _above(self, level: int) -> list[tuple[int, str]]:
        return [heading for heading in self._headings if heading[0] < level]

    def _fitted(self, parts: Sequence[str]) -> tuple[str, int]:
        """Drops the outermost headings first, keeps the title and the innermost one, then cuts those."""
        kept = list(parts)
        while (size := self._size(SEPARATOR.join(kept))) > self._most and len(kept) > 2:
            del kept[1]
        share = self._most
        while size > self._most:
            share //= 2
            kept = [self._cut(part, share) for part in kept]
            size = self._size(SEPARATOR.join(kept))
        return SEPARATOR.join(kept), size

    def _cut(self, part: str, tokens: int) -> str:
        offsets = self._tokenizer.offsets([part])[0]
        return part[: int(offsets[tokens, 0])].rstrip() if len(offsets) > tokens else part

    def _size(self, text: str) -> int:
        return self._tokenizer.count([text])[0] - self._tokenizer.special_tokens


def _flat(text: str) -> str:
    return " ".join(text[:_MAX_CHARS].split())
