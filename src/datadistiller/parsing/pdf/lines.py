"""Pieces of the lines of a PDF page: words that stand together, without wide gaps, and the font they are set in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ctypes import byref
from math import hypot
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

from datadistiller.parsing.native.loop import loaded
from datadistiller.parsing.pdf import words as pdf_words
from datadistiller.parsing.pdf.words import Box, Found, Frame, Line, Word

#: A gap between two words of a line that is wider than this many heights parts them.
WIDE_GAP = 0.9
#: Cosine of the most that a line which counts as level may rise or fall, about four degrees.
_UPRIGHT = 0.9975
#: How far letters reach above and below the base line, in heights of the font.
_ASCENT, _DESCENT = 0.76, 0.22


class Piece(NamedTuple):
    """Words that stand in one line without a wide gap; ``height`` is that of the font.

    What is not level (``upright``: it is) is a whole line, gaps or not.
    """

    words: tuple[Word, ...]
    box: Box
    height: float
    bold: bool = False
    upright: bool = True

    @property
    def text(self) -> str:
        """The words with a space between two."""
        return " ".join([word.text for word in self.words])


def union(boxes: Sequence[Sequence[float]]) -> Box:
    """The smallest box around boxes or points (x, y)."""
    return Box(
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[-2] for box in boxes),
        max(box[-1] for box in boxes),
    )


def merged(pieces: Sequence[Piece]) -> Piece:
    """Pieces of one line as one, in the order given."""
    if len(pieces) == 1:
        return pieces[0]
    words = tuple(word for piece in pieces for word in piece.words)
    longest = max(pieces, key=lambda piece: piece.box.right - piece.box.left)
    return longest._replace(words=words, box=union([piece.box for piece in pieces]))


def pieces(textpage: Any, frame: Frame) -> list[Piece]:
    """The text of a page in the order of pdfium, which is that of the file."""
    return cut(pdf_words.find(textpage, frame, loaded()), textpage, frame)


def cut(found: Found, textpage: Any, frame: Frame) -> list[Piece]:
    """The words of a page as pieces of their lines."""
    return [piece for line in found.lines for piece in _cut(line, found, textpage, frame)]


def _cut(line: Line, found: Found, textpage: Any, frame: Frame) -> Iterator[Piece]:
    """The words of a line as pieces.

    Their top and bottom come from the base line and the size of the font: many fonts say a wrong ascent.
    """
    words = found.words[line.first : line.end]
    height, across, up = line.size, 1.0, 0.0
    if line.has_matrix:
        height *= hypot(line.c, line.d)
        across, up = line.a, line.b
    height, bold = round(height, 1), bool(line.bold)
    upright = (across, up, -across, -up)[frame.quarters] > _UPRIGHT * hypot(across, up)
    if not upright or not height:
        box = _around(words, found.firsts[line.first : line.end], textpage, frame)
        yield Piece(words, box, height or round(box.bottom - box.top, 1), bold, upright)
        return
    base = frame.below(line.x, line.y)
    top, bottom = base - _ASCENT * height, base + _DESCENT * height
    if found.mirrored and any(pdf_words.RIGHT_TO_LEFT.search(word.text) for word in words):
        left, right = min(word.left for word in words), max(word.right for word in words)
        yield Piece(words, Box(left, top, right, bottom), height, bold)
        return
    gap = WIDE_GAP * height
    for run in (words,) if -gap <= line.narrowest and line.widest <= gap else _runs(words, gap):
        yield Piece(run, Box(run[0].left, top, run[-1].right, bottom), height, bold)


def _around(words: Sequence[Word], firsts: Sequence[int], textpage: Any, frame: Frame) -> Box:
    """The box around words that are not level."""
    corners: list[tuple[float, float]] = []
    rect = pdfium.FS_RECTF()
    for word, first in zip(words, firsts, strict=True):
        for at in (first, first + len(word.text) - 1):
            if pdfium.FPDFText_GetLooseCharBox(textpage.raw, at, byref(rect)):
                left, top, right, bottom = frame.edges(rect)
                corners += ((left, top), (right, bottom))
    return union(corners) if corners else Box(0.0, 0.0, 0.0, 0.0)


def _runs(line: Sequence[Word], gap: float) -> Iterator[tuple[Word, ...]]:
    """Cuts a line where the next word is far away, or to the left of the one before."""
    start = 0
    for at in range(1, len(line)):
        if not -gap <= line[at].left - line[at - 1].right <= gap:
            yield tuple(line[start:at])
            start = at
    yield tuple(line[start:])
