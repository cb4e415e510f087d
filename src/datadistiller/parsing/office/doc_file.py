"""The binary file of Word 6 to 2003 ([MS-DOC]): where its text is, and what its paragraphs are."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from datadistiller import errors
from datadistiller.parsing import passwords
from datadistiller.parsing.office.ole import Container, u16, u32

#: The parts of the text, in the order of the file.
_PARTS = ("main", "footnotes", "headers", "macros", "comments", "endnotes", "boxes", "header boxes")
#: What is read besides the main text, and what a person calls it.
APART = (("boxes", ""), ("footnotes", "Footnote"), ("endnotes", "Endnote"), ("comments", "Comment"), ("headers", ""),
         ("header boxes", ""))  # fmt: skip
_WORD_97 = 0xC1
_PAGE = 512
_MAX_RUNS = 29  # as many as have room on a page
_SPRM_IN_TABLE, _SPRM_ROW_END, _SPRM_OUTLINE = 0x2416, 0x2417, 0x2640
_SPRM_LIST_LEVEL, _SPRM_LIST = 0x260A, 0x460B
_SPRM_TABLE, _SPRM_TABS = 0xD608, 0xC615
_OPERANDS = (1, 1, 2, 4, 2, 2, 0, 3)  # bytes, by the three highest bits; 0: its first byte says

_CP1252 = {code: bytes((code,)).decode("cp1252", "replace") for code in range(0x80, 0xA0)}


@dataclass(frozen=True, slots=True)
class Properties:
    """What a paragraph is. ``level`` is 1-6 for headings."""

    level: int = 0
    listed: bool = False
    indent: int = 0
    in_table: bool = False
    row_end: bool = False


_PLAIN = Properties()


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of text: characters ``start`` to ``end`` lie at byte ``at`` of the main stream."""

    start: int
    end: int
    at: int
    width: int  # bytes of a character


class DocFile:
    """The text of a document by parts, and the properties of the paragraph that ends at a character."""

    def __init__(self, container: Container) -> None:
        self._main = container.read("WordDocument")
        flags = u16(self._main, 0x0A)
        if u16(self._main, 0) not in (0xA5EC, 0xA5DC, 0xA5DB):
            raise errors.DamagedDocument("The Word document is damaged, or from a time before Word 6.")
        if flags & 0x0100:
            raise passwords.locked("Word document")
        self._new = u16(self._main, 2) >= _WORD_97
        self._table = container.read("1Table" if flags & 0x0200 else "0Table") if self._new else self._main
        self._pieces = list(self._read_pieces(bool(flags & 0x0004)))
        if sum((piece.end - piece.start) * piece.width for piece in self._pieces) > len(self._main):
            raise errors.DamagedDocument("The Word document is damaged: its pieces lie on one another.")
        self._text = "".join(map(self._decoded, self._pieces))
        self._starts = [piece.start for piece in self._pieces]
        self._ends: list[int] = []  # bytes where paragraphs begin, and what they are
        self._kinds: list[Properties] = []
        if self._new:
            self._read_paragraphs()

    def text(self, part: str) -> str:
        """The text of a part, with its marks."""
        base = 0x4C if self._new else 0x34
        start = 0
        for i, name in enumerate(_PARTS):
            length = u32(self._main, base + 4 * i)
            if name == part:
                return self._text[start : start + min(length, 1 << 30)]
            start += length
        return ""

    def properties(self, position: int) -> Properties:
        """Those of the paragraph that the character at ``position`` of the main text belongs to."""
        i = bisect_right(self._starts, position) - 1
        if i < 0 or not self._ends:
            return _PLAIN
        piece = self._pieces[i]
        at = piece.at + (position - piece.start) * piece.width
        found = bisect_right(self._ends, at) - 1
        return self._kinds[found] if found >= 0 else _PLAIN

    def _read_pieces(self, complex_file: bool) -> Iterator[_Piece]:
        """Text is saved in pieces; old files that were not saved quickly have one."""
        place = 0x1A2 if self._new else 0x160
        clx = self._table[u32(self._main, place) :][: u32(self._main, place + 4)]
        if not self._new and not (complex_file and clx):
            start, end = u32(self._main, 0x18), min(u32(self._main, 0x1C), len(self._main))
            yield _Piece(0, max(0, end - start), start, 1)
            return
        at = 0
        while clx[at : at + 1] == b"\x01":  # properties of quickly saved text
            at += 3 + u16(clx, at + 1)
        if clx[at : at + 1] != b"\x02":
            raise errors.DamagedDocument("The Word document is damaged: it does not say where its text is.")
        plc = clx[at + 5 : at + 5 + u32(clx, at + 1)]
        count = max(0, (len(plc) - 4) // 12)
        places = [u32(plc, 4 * i) for i in range(count + 1)]
        for i, (start, end) in enumerate(pairwise(places)):
            if end < start:
                raise errors.DamagedDocument("The Word document is damaged: its pieces are out of order.")
            yield self._piece(start, end, u32(plc, 4 * (count + 1) + 8 * i + 2))

    def _piece(self, start: int, end: int, where: int) -> _Piece:
        narrow = not self._new or bool(where & 0x4000_0000)
        at = where if not self._new else (where & 0x3FFF_FFFF) // 2 if narrow else where & 0x3FFF_FFFF
        width = 1 if narrow else 2
        return _Piece(start, start + min(end - start, max(0, len(self._main) - at) // width), at, width)

    def _decoded(self, piece: _Piece) -> str:
        data = self._main[piece.at : piece.at + (piece.end - piece.start) * piece.width]
        # one character per unit, halves of a pair too: places are counted in them
        if piece.width == 1:
            return data.decode("latin-1").translate(_CP1252)
        return "".join(map(chr, struct.unpack(f"<{len(data) // 2}H", data[: len(data) & ~1])))

    def _read_paragraphs(self) -> None:
        """The pages of paragraph properties, each of 512 bytes, in the order of the bytes they are about."""
        start, size = u32(self._main, 0x102), u32(self._main, 0x106)
        plc = self._table[start : start + size]
        count = max(0, (len(plc) - 4) // 8)
        found: dict[int, Properties] = {}
        for i in range(count):
            number = u32(plc, 4 * (count + 1) + 4 * i) & 0x3F_FFFF
            page = self._main[number * _PAGE : (number + 1) * _PAGE]
            if len(page) == _PAGE:
                found |= _page_properties(page)
        self._ends = sorted(found)
        self._kinds = [found[end] for end in self._ends]


def _page_properties(page: bytes) -> dict[int, Properties]:
    """Byte where a paragraph begins -> what it is."""
    runs = page[_PAGE - 1]
    found: dict[int, Properties] = {}
    for i in range(runs if runs <= _MAX_RUNS else 0):
        at = 2 * page[4 * (runs + 1) + 13 * i]
        size = 2 * page[at] - 1 if page[at] else 2 * page[at + 1]
        body = page[at + (1 if page[at] else 2) :][:size] if at else b""
        found[u32(page, 4 * i)] = _properties(body)
    return found


def _properties(data: bytes) -> Properties:
    """A style and what differs from it. Styles 1 to 9 are always the built-in headings."""
    style = u16(data, 0)
    level = min(style, 6) if 1 <= style <= 9 else 0
    listed = in_table = row_end = False
    indent = 0
    for code, operand in _modifiers(data[2:]):
        value = operand[0] if operand else 0
        if code == _SPRM_IN_TABLE:
            in_table = bool(value)
        elif code == _SPRM_ROW_END:
            row_end = bool(value)
        elif code == _SPRM_OUTLINE:
            level = min(value + 1, 6) if value < 9 else 0
        elif code == _SPRM_LIST_LEVEL:
            indent = min(value, 8)
        elif code == _SPRM_LIST:
            listed = u16(operand, 0) not in (0, 0xF801)
    return Properties(level, listed, indent, in_table, row_end)


def _modifiers(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(code, operand) of each property that is set."""
    at = 0
    while at + 2 < len(data):
        code = u16(data, at)
        at += 2
        size = _OPERANDS[code >> 13]
        if code == _SPRM_TABLE:
            size = 1 + u16(data, at)
        elif code == _SPRM_TABS and data[at] == 255:
            return  # its length is only known by reading all of it; what matters stands before
        elif not size:
            size = 1 + data[at]
        yield code, data[at : at + size]
        at += size
