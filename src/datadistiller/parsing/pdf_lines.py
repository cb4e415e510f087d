"""Words of a PDF page and where they stand, as pdfium gives them: pieces of lines, without wide gaps.

Places are in points from the top left corner of the page as it is shown: turned, and cut to its crop box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ctypes import byref, c_double, c_int, create_string_buffer
from math import hypot
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

#: How pdfium marks a word that is broken at the end of a line, in place of the hyphen and the line end.
BROKEN = ("\ufffe", "\x02")
_WORD = re.compile("[^\\s\ufffe\x02]+[\ufffe\x02]?")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_BOLD_WEIGHT = 600
#: A gap between two words of a line that is wider than this many heights parts them.
WIDE_GAP = 0.9
#: Cosine of the most that a line which counts as level may rise or fall, about four degrees.
_UPRIGHT = 0.9975
#: What a word has at least in common with the line it is in, of the height of either.
_SHARED = 0.4
#: How far letters reach above and below the base line, in heights of the font.
_ASCENT, _DESCENT = 0.76, 0.22


class Box(NamedTuple):
    """A rectangle in points, from the top left corner of the page as it is shown."""

    left: float
    top: float
    right: float
    bottom: float


class Word(NamedTuple):
    """A run of characters without a space, and from where to where it stands in its line."""

    text: str
    left: float
    right: float


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


class Frame(NamedTuple):
    """How a page is shown: its size in points, and what turns pdfium's places (y upwards) into ours."""

    width: float
    height: float
    left: float  # of the visible part, before it is turned
    bottom: float
    quarters: int  # turned clockwise

    def along(self, first: float, last: float) -> tuple[float, float]:
        """From where to where a part of a line reaches, given on the axis of pdfium's that the line runs along."""
        match self.quarters:
            case 0:
                return first - self.left, last - self.left
            case 1:
                return first - self.bottom, last - self.bottom
            case 2:
                return self.width + self.left - last, self.width + self.left - first
        return self.width + self.bottom - last, self.width + self.bottom - first

    def edges(self, rect: Any) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a rectangle of pdfium's."""
        if not self.quarters:
            y = self.height + self.bottom
            return rect.left - self.left, y - rect.top, rect.right - self.left, y - rect.bottom
        left, right = rect.left - self.left, rect.right - self.left
        low, high = rect.bottom - self.bottom, rect.top - self.bottom
        match self.quarters:
            case 1:
                return low, left, high, right
            case 2:
                return self.width - right, low, self.width - left, high
        return self.width - high, self.height - right, self.width - low, self.height - left


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


def frame_of(page: Any) -> Frame:
    """How pdfium shows a page."""
    rect = pdfium.FS_RECTF()
    if not pdfium.FPDF_GetPageBoundingBox(page, byref(rect)):
        width, height = page.get_size()
        return Frame(width, height, 0.0, 0.0, 0)
    across, up = rect.right - rect.left, rect.top - rect.bottom
    quarters = pdfium.FPDFPage_GetRotation(page) % 4
    size = (up, across) if quarters % 2 else (across, up)
    return Frame(*size, rect.left, rect.bottom, quarters)


class _Reader:
    """Reads one text page: as few calls of pdfium as can be, for each takes half a microsecond."""

    def __init__(self, textpage: Any, frame: Frame) -> None:
        self.raw = textpage.raw
        self.text: str = textpage.get_text_range()
        self.frame = frame
        self.rect = pdfium.FS_RECTF()
        self.matrix = pdfium.FS_MATRIX()
        self.x, self.y = c_double(), c_double()
        self.name = create_string_buffer(128)

    def lines(self) -> Iterator[tuple[list[Word], list[int]]]:
        """The words of each line, with the number of each one's first character in pdfium's list."""
        words: list[Word] = []
        firsts: list[int] = []
        places = self._places()
        raw, rect, box_of, along = self.raw, self.rect, pdfium.FPDFText_GetLooseCharBox, self.frame.along
        pointer, end, low, high, turned = byref(rect), 0, 0.0, 0.0, self.frame.quarters % 2
        for match in _WORD.finditer(self.text):
            start, stop = match.span()
            at = start if places is None else places[start]
            box_of(raw, at, pointer)  # one that has no place keeps that of the character before
            here, there = (rect.left, rect.right) if turned else (rect.bottom, rect.top)  # across the line
            first, last = (rect.bottom, rect.top) if turned else (rect.left, rect.right)
            if stop - start > 1:
                box_of(raw, stop - 1 if places is None else places[stop - 1], pointer)
                begin, finish = (rect.bottom, rect.top) if turned else (rect.left, rect.right)
                first, last = begin if begin < first else first, finish if finish > last else last
            if words:
                shared = (there if there < high else high) - (here if here > low else low)
                apart = shared < _SHARED * (there - here) and shared < _SHARED * (high - low)
                if apart or "\n" in self.text[end:start] or words[-1].text.endswith(BROKEN):
                    yield words, firsts
                    words, firsts = [], []
            words.append(Word(match.group(), *along(first, last)))
            firsts.append(at)
            end, low, high = stop, here, there
        if words:
            yield words, firsts

    def _places(self) -> list[int] | None:
        """pdfium's number of each character of the text, where it is not the same; it counts in UTF-16 units."""
        if pdfium.FPDFText_CountChars(self.raw) == len(self.text):
            return None
        units: list[int] = []
        at = 0
        for char in self.text:
            units.append(pdfium.FPDFText_GetCharIndexFromTextIndex(self.raw, at))
            at += 2 if char > "\uffff" else 1
        return units

    def font(self, at: int) -> tuple[float, bool, bool]:
        """Of a character: the height of its font in points, whether it is bold, whether the text runs to the right."""
        height, across, up = float(pdfium.FPDFText_GetFontSize(self.raw, at)), 1.0, 0.0
        matrix = self.matrix
        if pdfium.FPDFText_GetMatrix(self.raw, at, byref(matrix)):
            height *= hypot(matrix.c, matrix.d)
            across, up = matrix.a, matrix.b
        along = (across, up, -across, -up)[self.frame.quarters]
        return round(height, 1), self._bold(at), along > _UPRIGHT * hypot(across, up)

    def base(self, at: int) -> float:
        """How far below the top of the page the foot of a character is, in points."""
        pdfium.FPDFText_GetCharOrigin(self.raw, at, byref(self.x), byref(self.y))
        self.rect.left = self.rect.right = self.x.value
        self.rect.bottom = self.rect.top = self.y.value
        return self.frame.edges(self.rect)[1]

    def around(self, words: Sequence[Word], firsts: Sequence[int]) -> Box:
        """The box around words that are not level."""
        corners: list[tuple[float, float]] = []
        for word, first in zip(words, firsts, strict=True):
            for at in (first, first + len(word.text) - 1):
                if pdfium.FPDFText_GetLooseCharBox(self.raw, at, byref(self.rect)):
                    left, top, right, bottom = self.frame.edges(self.rect)
                    corners += ((left, top), (right, bottom))
        return union(corners) if corners else Box(0.0, 0.0, 0.0, 0.0)

    def _bold(self, at: int) -> bool:
        """By the weight of the font or, as in most files, by its name."""
        if pdfium.FPDFText_GetFontWeight(self.raw, at) >= _BOLD_WEIGHT:
            return True
        name = self.name
        name.value = b""
        pdfium.FPDFText_GetFontInfo(self.raw, at, name, len(name), byref(c_int()))
        return b"bold" in name.value.lower() or b"black" in name.value.lower()


def pieces(textpage: Any, frame: Frame) -> list[Piece]:
    """The text of a page in the order of pdfium, which is that of the file."""
    reader = _Reader(textpage, frame)
    return [piece for words, firsts in reader.lines() for piece in _cut(words, firsts, reader)]


def _cut(words: list[Word], firsts: list[int], reader: _Reader) -> list[Piece]:
    """The words of a line as pieces.

    Their top and bottom come from the base line and the size of the font: many fonts say a wrong ascent.
    """
    longest = max(range(len(words)), key=lambda n: len(words[n].text))
    height, bold, upright = reader.font(firsts[longest])
    if not upright or not height:
        box = reader.around(words, firsts)
        return [Piece(tuple(words), box, height or round(box.bottom - box.top, 1), bold, upright)]
    base = reader.base(firsts[longest])
    top, bottom = base - _ASCENT * height, base + _DESCENT * height
    if _RIGHT_TO_LEFT.search("".join([word.text for word in words])):  # stands in the order of speech, not of places
        left, right = min(word.left for word in words), max(word.right for word in words)
        return [Piece(tuple(words), Box(left, top, right, bottom), height, bold)]
    return [
        Piece(run, Box(run[0].left, top, run[-1].right, bottom), height, bold)
        for run in _runs(words, WIDE_GAP * height)
    ]


def _runs(line: list[Word], gap: float) -> Iterator[tuple[Word, ...]]:
    """Cuts a line where the next word is far away, or to the left of the one before."""
    start = 0
    for at in range(1, len(line)):
        if not -gap <= line[at].left - line[at - 1].right <= gap:
            yield tuple(line[start:at])
            start = at
    yield tuple(line[start:])
