"""Writes the text of a PDF page, and with it where each piece of it stands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from datadistiller.model import Block, BlockKind, Line, Page
from datadistiller.parsing import pages
from datadistiller.parsing.pdf.words import Box

#: What looks like two letters and is one character, as in many fonts: safe to spell out, unlike all of NFKC.
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
_SOFT_HYPHEN = {0xAD: None}


class Part(NamedTuple):
    """Text as it stands in one place; without ``box`` it is said again (a header). ``glue`` comes before it."""

    text: str
    box: Box | None
    glue: str = " "


class PageWriter:
    """Collects the blocks of one page; blocks are parted by an empty line."""

    def __init__(self, size: tuple[float, float]) -> None:
        """``size``: width and height of the page as it is shown, points."""
        self._size = size
        self._texts: list[str] = []
        self._blocks: list[Block] = []
        self._lines: list[Line] = []
        self._length = 0

    def add(self, kind: BlockKind, parts: Iterable[Part], level: int = 0) -> None:
        """Appends a block of ``parts``; the glue of its first one is left out, and so is a part without text."""
        start = -1
        for part in parts:
            text = clean(part.text)
            if not text:
                continue
            glue = part.glue if start >= 0 else "\n\n" if self._blocks else ""
            self._texts += (glue, text)
            at = self._length + len(glue)
            self._length = at + len(text)
            start = at if start < 0 else start
            self._place(at, part.box)
        if start >= 0:
            self._blocks.append(Block(kind, start, self._length, level))

    def _place(self, start: int, box: Box | None) -> None:
        """Says where the text from ``start`` stands, if that is on the page."""
        if box is None:
            return
        width, height = self._size
        left, right = max(0.0, box.left), min(width, box.right)
        top, bottom = max(0.0, box.top), min(height, box.bottom)
        if left < right and top < bottom:
            self._lines.append(Line(start, self._length, left, top, right, bottom))

    def build(self, number: int, label: str = "") -> Page:
        """The page with what was added."""
        text = "".join(self._texts)
        return Page(number, text, tuple(self._blocks), label, size=self._size, lines=tuple(self._lines))


def clean(text: str) -> str:
    """``text`` without what is no text, with ligatures spelt out and hyphens that do not show left out."""
    text = pages.clean(text).strip()
    return text if text.isascii() else text.translate(_LIGATURES).translate(_SOFT_HYPHEN)
