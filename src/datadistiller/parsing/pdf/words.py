"""Words of a PDF page and where they stand, asked of pdfium: line after line, in the order of the file.

Places are in points from the top left corner of the page as it is shown: turned, and cut to its crop box.
Where the loop in C is compiled (``native``), it finds them; it must give what ``Asking`` gives, to the last bit.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from ctypes import byref, c_double, c_int, create_string_buffer
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

from datadistiller.parsing.native.loop import MOST_CHARS, Loop

#: How pdfium marks a word that is broken at the end of a line, in place of the hyphen and the line end.
BROKEN = ("\ufffe", "\x02")
WORD = re.compile("[^\\s\ufffe\x02]+[\ufffe\x02]?")
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_BOLD_WEIGHT = 600
#: What a word has at least in common with the line it is in, of the height of either.
_SHARED = 0.4
_NAME_BYTES = 128


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


class Line(NamedTuple):
    """Words that follow each other in one line, and what the longest of them is set in. pdfium's own numbers."""

    first: int  # of the words of the page
    end: int
    bold: int
    has_matrix: int
    size: float
    a: float
    b: float
    c: float
    d: float
    x: float  # the foot of the first character of the longest word
    y: float
    narrowest: float  # of the gaps between words that follow each other; 0 is among them
    widest: float


class Found(NamedTuple):
    """The words of a page; ``firsts`` has pdfium's number of each one's first character.

    ``mirrored``: some may stand in the order of speech, from right to left, and not in that of their places.
    """

    words: tuple[Word, ...]
    firsts: Sequence[int]
    lines: Sequence[Line]
    mirrored: bool


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

    def below(self, x: float, y: float) -> float:
        """How far below the top of the page a point of pdfium's is."""
        match self.quarters:
            case 0:
                return self.height + self.bottom - y
            case 1:
                return x - self.left
            case 2:
                return y - self.bottom
        return self.height - (x - self.left)

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


def find(textpage: Any, frame: Frame, loop: Loop | None) -> Found:
    """The words of a page, by the compiled ``loop`` if there is one."""
    text: str = textpage.get_text_range()
    if loop is not None and len(text) <= MOST_CHARS:
        same = pdfium.FPDFText_CountChars(textpage.raw) == len(text)
        lefts, rights, firsts, lines = loop.words(textpage.raw, text, frame, same)
        made = map(partial(tuple.__new__, Word), zip(WORD.findall(text), lefts, rights, strict=True))
        return Found(tuple(made), firsts, list(map(partial(tuple.__new__, Line), lines)), _mirrored(text))
    return Asking(textpage, text, frame).found()


def _mirrored(text: str) -> bool:
    return not text.isascii() and RIGHT_TO_LEFT.search(text) is not None


class Asking:
    """Reads one text page in Python: as few calls of pdfium as can be, for each takes half a microsecond."""

    def __init__(self, textpage: Any, text: str, frame: Frame) -> None:
        self.raw = textpage.raw
        self.text = text
        self.frame = frame
        self.rect = pdfium.FS_RECTF()
        self.matrix = pdfium.FS_MATRIX()
        self.x, self.y = c_double(), c_double()
        self.name = create_string_buffer(_NAME_BYTES)

    def found(self) -> Found:
        """The words of the page."""
        words: list[Word] = []
        firsts = array("i")
        lines: list[Line] = []
        for some, numbers in self._lines():
            lines.append(self._line(some, numbers, len(words)))
            words += some
            firsts.extend(numbers)
        return Found(tuple(words), firsts, lines, _mirrored(self.text))

    def _lines(self) -> Iterator[tuple[list[Word], list[int]]]:
        """The words of each line, with the number of each one's first character in pdfium's list."""
        words: list[Word] = []
        firsts: list[int] = []
        places = self._places()
        raw, rect, box_of, along = self.raw, self.rect, pdfium.FPDFText_GetLooseCharBox, self.frame.along
        pointer, end, low, high, turned = byref(rect), 0, 0.0, 0.0, self.frame.quarters % 2
        for match in WORD.finditer(self.text):
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

    def _line(self, words: Sequence[Word], firsts: Sequence[int], begin: int) -> Line:
        """What is known of a line; ``begin`` is the number of its first word."""
        at = firsts[max(range(len(words)), key=lambda n: len(words[n].text))]
        gaps = [0.0, *(after.left - word.right for word, after in pairwise(words))]
        size, matrix = float(pdfium.FPDFText_GetFontSize(self.raw, at)), self.matrix
        has_matrix = bool(pdfium.FPDFText_GetMatrix(self.raw, at, byref(matrix)))
        a, b, c, d = (matrix.a, matrix.b, matrix.c, matrix.d) if has_matrix else (0.0, 0.0, 0.0, 0.0)
        bold = self._bold(at)
        placed = pdfium.FPDFText_GetCharOrigin(self.raw, at, byref(self.x), byref(self.y))
        x, y = (self.x.value, self.y.value) if placed else (0.0, 0.0)
        narrowest = float("-inf") if any(gap != gap for gap in gaps) else min(gaps)
        widest = max(gap for gap in gaps if gap == gap)
        return Line(begin, begin + len(words), bold, has_matrix, size, a, b, c, d, x, y, narrowest, widest)

    def _bold(self, at: int) -> bool:
        """By the weight of the font or, as in most files, by its name."""
        if pdfium.FPDFText_GetFontWeight(self.raw, at) >= _BOLD_WEIGHT:
            return True
        name = self.name
        name.value = b""
        pdfium.FPDFText_GetFontInfo(self.raw, at, name, _NAME_BYTES, byref(c_int()))
        return b"bold" in name.value.lower() or b"black" in name.value.lower()
