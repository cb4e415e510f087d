"""The reading order of a PDF page: columns after each other, what spans them in between, lines from top to bottom."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from datadistiller.parsing.pdf.lines import Piece, union
from datadistiller.parsing.pdf.words import Box

#: Characters of a piece that make it running text and not a cell or a label.
_PROSE_CHARS = 20
#: Lines that a column has beside the other.
_COLUMN_LINES = 4
#: How many times higher than the other a piece of a line may be; a brace around several lines is in none of them.
_MAX_UNLIKE = 2.5
_MAX_GUTTERS = 6
_MAX_DEPTH = 4


def regions(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The parts of a page in reading order; within one the order is by lines. Text that is not level comes last."""
    upright = [piece for piece in pieces if piece.upright]
    turned = [piece for piece in pieces if not piece.upright]
    return _cut(upright, _MAX_DEPTH) + ([turned] if turned else [])


def rows(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces of a region as lines from top to bottom, each from left to right; what is not level as it comes."""
    if not all(piece.upright for piece in pieces):
        return [[piece] for piece in pieces]
    found: list[list[Piece]] = []
    top = bottom = -1.0
    for piece in sorted(pieces, key=lambda piece: (piece.box.top + piece.box.bottom, piece.box.left)):
        box = piece.box
        shared = min(bottom, box.bottom) - max(top, box.top)
        low, high = sorted((bottom - top, box.bottom - box.top))
        if found and shared > 0.5 * low and high < _MAX_UNLIKE * low:
            found[-1].append(piece)
            if box.bottom - box.top > bottom - top:
                top, bottom = box.top, box.bottom
        else:
            found.append([piece])
            top, bottom = box.top, box.bottom
    for row in found:
        row.sort(key=lambda piece: piece.box.left)
    return found


def _cut(pieces: list[Piece], depth: int) -> list[list[Piece]]:
    if not pieces:
        return []
    gutter = _gutter(pieces) if depth else None
    if gutter is None:
        return [pieces]
    found: list[list[Piece]] = []
    for band in _bands(pieces, gutter):
        left, right = _sides(band, gutter)
        if len(left) + len(right) == len(band) and left and right:
            found += _cut(left, depth - 1) + _cut(right, depth - 1)
        else:
            found.append(band)
    return found


def _gutter(pieces: Sequence[Piece]) -> float | None:
    """Where a second column begins, or None: many lines of running text that begin at one place, with others beside."""
    prose = [piece for piece in pieces if _chars(piece) >= _PROSE_CHARS]
    if len(prose) < 2 * _COLUMN_LINES:
        return None
    edges = Counter(round(piece.box.left) for piece in prose)
    first = min(piece.box.left for piece in prose)
    best, most = None, _COLUMN_LINES - 1
    for edge, count in edges.most_common(_MAX_GUTTERS):
        if count < 2 or edge < first + 3 * prose[0].height:
            continue
        score = sum(_worth(band, edge - 1.5) for band in _bands(pieces, edge - 1.5))
        if score > most:
            best, most = edge - 1.5, score
    return best


def _worth(band: Sequence[Piece], gutter: float) -> int:
    """How many lines of running text of the smaller column are beside the other."""
    left, right = _sides(band, gutter)
    if len(left) + len(right) < len(band) or not left or not right:
        return 0
    return min(_prose_lines(left), _prose_lines(right))


def _prose_lines(pieces: Sequence[Piece]) -> int:
    """Lines of running text, if most of the text is that."""
    long = [chars for piece in pieces if (chars := _chars(piece)) >= _PROSE_CHARS]
    return len(long) if sum(long) > 0.6 * sum(map(_chars, pieces)) and 2 * len(long) > len(pieces) else 0


def _sides(pieces: Sequence[Piece], gutter: float) -> tuple[list[Piece], list[Piece]]:
    """What is left and what is right of the gutter; what crosses it is in neither."""
    left = [piece for piece in pieces if piece.box.right <= gutter]
    return left, [piece for piece in pieces if piece.box.left >= gutter]


def _bands(pieces: Sequence[Piece], gutter: float) -> Iterator[list[Piece]]:
    """The page from top to bottom: bands that nothing crosses the gutter in, and what is between them.

    A band that has text on one side only, or a line or two, goes with what crosses.
    """
    crossing = _spanning(pieces, gutter)
    limits = sorted((piece.box.top + piece.box.bottom) / 2 for piece in crossing.values())
    free = [piece for piece in pieces if id(piece) not in crossing]
    bands: list[tuple[float, bool, list[Piece]]] = []
    beside: defaultdict[int, list[Piece]] = defaultdict(list)
    for piece in free:
        middle = (piece.box.top + piece.box.bottom) / 2
        beside[bisect_left(limits, middle)].append(piece)
    for band in beside.values():
        left, right = _sides(band, gutter)
        columns = bool(left and right and _beside(union_of(left), union_of(right)))
        bands.append((min(piece.box.top for piece in band), columns and _prose_lines(band) > 2, band))
    bands += [(piece.box.top, False, [piece]) for piece in crossing.values()]
    bands.sort(key=lambda band: band[0])
    for columns, group in groupby(bands, key=lambda band: band[1]):
        if columns:
            yield from (band for _, _, band in group)
        else:
            yield [piece for _, _, band in group for piece in band]


def _spanning(pieces: Sequence[Piece], gutter: float) -> dict[int, Piece]:
    """What crosses the gutter: pieces, and lines of three or more short pieces on both sides (rows of a table)."""
    crossing = {id(piece): piece for piece in pieces if piece.box.left < gutter < piece.box.right or not piece.words}
    lines: defaultdict[int, list[Piece]] = defaultdict(list)
    for piece in pieces:
        lines[round(piece.box.bottom)].append(piece)
    for line in lines.values():
        if len(line) > 2 and all(_chars(piece) < _PROSE_CHARS for piece in line):
            crossing.update({id(piece): piece for piece in line} if all(_sides(line, gutter)) else {})
    return crossing


def _beside(one: Box, other: Box) -> bool:
    """True if two boxes stand side by side for some lines."""
    return min(one.bottom, other.bottom) - max(one.top, other.top) > 0.3 * min(
        one.bottom - one.top, other.bottom - other.top
    )


def union_of(pieces: Sequence[Piece]) -> Box:
    """The smallest box around pieces."""
    return union([piece.box for piece in pieces])


def _chars(piece: Piece) -> int:
    return sum(map(len, map(attrgetter("text"), piece.words))) + len(piece.words)
