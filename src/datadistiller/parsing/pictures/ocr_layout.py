"""Recognised pieces as a page: lines in reading order, paragraphs, exact character ranges."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from datadistiller.model import Block, BlockKind, Line, Page
from datadistiller.parsing import pages

_LIST_ITEM = re.compile(r"[•●▪◦‣·–]\s*\S|[-*]\s+\S|\(?[0-9a-zA-Z]{1,2}[.)]\s")
_BROKEN_WORD = re.compile(r"[^\W\d_]-$")
#: Lines beside each other that make two columns, and how long they must be: cells of tables are shorter.
_COLUMN_LINES = 4
_COLUMN_CHARS = 12


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that stands together in a line; rectangles are left, top, right, bottom in pixels.

    ``box`` is where it is when the page is turned and levelled so that it reads; ``place`` is where it is seen.
    """

    text: str
    box: tuple[float, float, float, float]
    place: tuple[float, float, float, float]


Row = list[Piece]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture says, in no order that matters. Not ``whole``: time was up before all of it was read."""

    pieces: Sequence[Piece]
    whole: bool


@dataclass(slots=True)
class _Text:
    """A page that is being written."""

    text: str = ""
    blocks: tuple[Block, ...] = ()
    lines: tuple[Line, ...] = ()


def page(number: int, label: str, pieces: Sequence[Piece], size: tuple[float, float], unit: float) -> Page:
    """The page of that number. ``unit`` is what a pixel of the pieces' places is in the unit of ``size``."""
    out = _Text()
    clean = [Piece(" ".join(pages.clean(piece.text).split()), piece.box, piece.place) for piece in pieces]
    for column in _columns(_rows([piece for piece in clean if piece.text])):
        for paragraph in _paragraphs(column):
            _write(out, paragraph, unit)
    return Page(number, out.text, out.blocks, label, size=size, lines=out.lines, recognised=bool(out.text))


def _write(out: _Text, rows: Sequence[Row], unit: float) -> None:
    """Appends a block; a word that was broken at the end of a line is whole again."""
    text = f"{out.text}\n\n" if out.text else ""
    start = len(text)
    lines: list[Line] = []
    for n, row in enumerate(rows):
        for piece in row:
            if len(text) > start and text[-1] not in " \n" and not (piece is row[0] and _continues(rows, n)):
                text += "\n" if piece is row[0] else " "
            left, top, right, bottom = (value * unit for value in piece.place)
            word = piece.text[:-1] if piece is row[-1] and _continues(rows, n + 1) else piece.text
            lines.append(Line(len(text), len(text) + len(word), left, top, right, bottom))
            text += word
    kind = BlockKind.LIST if _LIST_ITEM.match(text[start:]) else BlockKind.PARAGRAPH
    out.text, out.lines = text, (*out.lines, *lines)
    out.blocks = (*out.blocks, Block(kind, start, len(text)))


def _continues(rows: Sequence[Row], n: int) -> bool:
    """True if row ``n`` begins with the rest of a word."""
    return 0 < n < len(rows) and bool(_BROKEN_WORD.search(rows[n - 1][-1].text)) and rows[n][0].text[:1].islower()


def _rows(pieces: Sequence[Piece]) -> list[Row]:
    """Pieces beside each other, from left to right; the rows from top to bottom."""
    rows: list[Row] = []
    for piece in sorted(pieces, key=lambda piece: piece.box[1]):
        beside = [row for row in rows[-4:] if _beside(row[0], piece)]
        if beside:
            beside[-1].append(piece)
        else:
            rows.append([piece])
    return [sorted(row, key=lambda piece: piece.box[0]) for row in rows]


def _beside(one: Piece, other: Piece) -> bool:
    shared = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    return shared > 0.5 * min(_height(one), _height(other))


def _height(piece: Piece) -> float:
    return piece.box[3] - piece.box[1]


def _columns(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows in reading order, cut where columns begin and end; rows of tables stay whole."""
    gutter = _gutter([piece for row in rows for piece in row])
    if gutter is None:
        yield list(rows)
        return
    run: list[Row] = []
    for row in (*rows, None):
        if row is not None and not any(piece.box[0] < gutter < piece.box[2] for piece in row):
            run.append(row)
            continue
        yield from _split(run, gutter)
        run = []
        if row is not None:
            yield [row]


def _split(run: Sequence[Row], gutter: float) -> Iterator[list[Row]]:
    """Rows that nothing crosses the gutter in: both columns after each other, or the rows as they are."""
    sides = [
        _rows([piece for row in run for piece in row if (piece.box[0] < gutter) == left]) for left in (True, False)
    ]
    if all(_is_column(side) for side in sides):
        for side in sides:
            yield from _columns(side)
    elif run:
        yield list(run)


def _gutter(pieces: Sequence[Piece]) -> float | None:
    """The left edge, less a little, at which most pieces begin that do not begin at the left of all."""
    if len(pieces) < 2 * _COLUMN_LINES:
        return None
    left, right = min(piece.box[0] for piece in pieces), max(piece.box[2] for piece in pieces)
    step = max(1.0, median(_height(piece) for piece in pieces))
    inner = [piece.box[0] for piece in pieces if piece.box[0] > left + 0.2 * (right - left)]
    if not inner:
        return None
    bucket, count = Counter(int(edge // step) for edge in inner).most_common(1)[0]
    return min(edge for edge in inner if edge // step == bucket) - 0.3 * step if count >= _COLUMN_LINES else None


def _is_column(rows: Sequence[Row]) -> bool:
    """True if the rows are lines of running text: one piece each, long, most of them nearly of one width."""
    pieces = [piece for row in rows for piece in row]
    if len(pieces) < _COLUMN_LINES or len(pieces) > 1.5 * len(rows):
        return False
    width = max(piece.box[2] for piece in pieces) - min(piece.box[0] for piece in pieces)
    usual = median(piece.box[2] - piece.box[0] for piece in pieces)
    return usual >= 0.5 * width and median(len(piece.text) for piece in pieces) >= _COLUMN_CHARS


def _paragraphs(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows that belong together: no wider gap than usual between them, no other size, no new item of a list."""
    gaps = sorted(_top(below) - _bottom(above) for above, below in pairwise(rows))
    usual = gaps[len(gaps) // 3] if gaps else 0.0
    run: list[Row] = []
    for row in rows:
        if run and _parted(run[-1], row, usual):
            yield run
            run = []
        run.append(row)
    if run:
        yield run


def _parted(above: Row, below: Row, usual: float) -> bool:
    upper, lower = (median(_height(piece) for piece in row) for row in (above, below))
    return (
        _top(below) - _bottom(above) > max(usual, 0.0) + 0.5 * lower
        or max(upper, lower) > 1.5 * min(upper, lower)
        or _LIST_ITEM.match(below[0].text) is not None
    )


def _top(row: Row) -> float:
    return median(piece.box[1] for piece in row)


def _bottom(row: Row) -> float:
    return median(piece.box[3] for piece in row)
