"""Lines drawn on a PDF page, and the grids they make: tables whose cells are ruled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ctypes import byref, c_float, c_int
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

from datadistiller.parsing.pdf.words import Box, Frame

#: Points: a line is no thicker; places this near are one; a line is no shorter.
_THICK, _NEAR, _SHORT = 3.0, 3.0, 4.0
#: Objects of a page, and drawn pieces of one object, that are looked at; more are a drawing.
_MAX_OBJECTS, _MAX_SEGMENTS = 20_000, 2_000
#: Lines of a page, across and down; more are a drawing.
_MAX_RULES = 1_500
#: Of the side of a cell that must be drawn to be a wall.
_WALL = 0.6
_MAX_SIDE = 300


class Rule(NamedTuple):
    """A straight line: at ``at`` on one axis, from ``start`` to ``end`` on the other, in points as shown."""

    at: float
    start: float
    end: float


class Grid(NamedTuple):
    """A ruled table: where its lines are, and of each smallest field the first field of the cell it is in."""

    xs: list[float]
    ys: list[float]
    owner: dict[tuple[int, int], tuple[int, int]]

    @property
    def box(self) -> Box:
        """Its outline."""
        return Box(self.xs[0], self.ys[0], self.xs[-1], self.ys[-1])


def read(page: Any, frame: Frame) -> tuple[list[Rule], list[Rule]]:
    """The lines across and down that are drawn on a page; none if it is full of them."""
    across: list[Rule] = []
    down: list[Rule] = []
    raw = page.raw
    for n in range(min(pdfium.FPDFPage_CountObjects(raw), _MAX_OBJECTS)):
        item = pdfium.FPDFPage_GetObject(raw, n)
        if pdfium.FPDFPageObj_GetType(item) == pdfium.FPDF_PAGEOBJ_PATH:
            for box in _boxes(item, frame):
                _sort_in(box, across, down)
            if len(across) + len(down) > _MAX_RULES:
                return [], []
    return _one_each(across), _one_each(down)


def _boxes(item: Any, frame: Frame) -> Iterator[Box]:
    """The outline of a path, or, if it has several parts, of each straight piece of it."""
    count = pdfium.FPDFPath_CountSegments(item)
    if count <= 5:
        rect = pdfium.FS_RECTF()
        left, bottom, right, top = c_float(), c_float(), c_float(), c_float()
        if pdfium.FPDFPageObj_GetBounds(item, byref(left), byref(bottom), byref(right), byref(top)):
            rect.left, rect.bottom, rect.right, rect.top = left.value, bottom.value, right.value, top.value
            box = Box(*frame.edges(rect))
            if min(box.right - box.left, box.bottom - box.top) <= _THICK or _outlined(item):
                yield box
    elif count <= _MAX_SEGMENTS:
        yield from _segments(item, count, frame)


def _outlined(item: Any) -> bool:
    """True if the outline of a path is drawn; what is only filled is a background."""
    fill, stroke = c_int(), c_int()
    return bool(pdfium.FPDFPath_GetDrawMode(item, byref(fill), byref(stroke)) and stroke.value)


def _segments(item: Any, count: int, frame: Frame) -> Iterator[Box]:
    matrix, rect, x, y = pdfium.FS_MATRIX(), pdfium.FS_RECTF(), c_float(), c_float()
    pdfium.FPDFPageObj_GetMatrix(item, byref(matrix))
    before = begin = (0.0, 0.0)
    for n in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(item, n)
        pdfium.FPDFPathSegment_GetPoint(segment, byref(x), byref(y))
        here = (matrix.a * x.value + matrix.c * y.value + matrix.e, matrix.b * x.value + matrix.d * y.value + matrix.f)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        ends = [(before, here)] if kind == pdfium.FPDF_SEGMENT_LINETO else []
        begin = here if kind == pdfium.FPDF_SEGMENT_MOVETO else begin
        if pdfium.FPDFPathSegment_GetClose(segment):
            ends.append((here, begin))
        for (x1, y1), (x2, y2) in ends:
            rect.left, rect.right, rect.bottom, rect.top = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
            yield Box(*frame.edges(rect))
        before = here


def _sort_in(box: Box, across: list[Rule], down: list[Rule]) -> None:
    """Adds the line, or the four sides of the rectangle, that a box is."""
    left, top, right, bottom = box
    if bottom - top <= _THICK:
        if right - left >= _SHORT:
            across.append(Rule((top + bottom) / 2, left, right))
    elif right - left <= _THICK:
        if bottom - top >= _SHORT:
            down.append(Rule((left + right) / 2, top, bottom))
    else:
        across += (Rule(top, left, right), Rule(bottom, left, right))
        down += (Rule(left, top, bottom), Rule(right, top, bottom))


def _one_each(rules: Iterable[Rule]) -> list[Rule]:
    """Lines that continue or cover each other as one."""
    found: list[Rule] = []
    for near in _clusters(sorted(rules)):
        at = sum(rule.at for rule in near) / len(near)
        start, end = near[0].start, near[0].start
        for rule in sorted(near, key=lambda rule: rule.start):
            if rule.start > end + _NEAR and end > start:
                found.append(Rule(at, start, end))
                start = rule.start
            end = max(end, rule.end)
        found.append(Rule(at, start, end))
    return found


def _clusters(rules: Sequence[Rule]) -> Iterator[list[Rule]]:
    """Sorted lines in groups that are at one place."""
    group: list[Rule] = []
    for rule in rules:
        if group and rule.at - group[0].at > _NEAR:
            yield group
            group = []
        group.append(rule)
    if group:
        yield group


def grids(across: Sequence[Rule], down: Sequence[Rule]) -> list[Grid]:
    """The grids that lines make which cross or touch; lines that stand alone make none."""
    return [grid for group in _groups(across, down) if (grid := _grid(*group)) is not None]


def _groups(across: Sequence[Rule], down: Sequence[Rule]) -> Iterator[tuple[list[Rule], list[Rule]]]:
    """Lines that hang together."""
    free_across, free_down = list(across), list(down)
    while free_down:
        group: tuple[list[Rule], list[Rule]] = ([], [free_down.pop()])
        new = [(group[1][0], 1)]
        while new:
            rule, side = new.pop()
            pool = free_across if side else free_down
            touching = [other for other in pool if _touch(rule, other)]
            pool[:] = [other for other in pool if not _touch(rule, other)]
            group[1 - side].extend(touching)
            new += [(other, 1 - side) for other in touching]
        yield group


def _touch(one: Rule, other: Rule) -> bool:
    """True if a line across and a line down meet."""
    return one.start - _NEAR <= other.at <= one.end + _NEAR and other.start - _NEAR <= one.at <= other.end + _NEAR


def _grid(across: Sequence[Rule], down: Sequence[Rule]) -> Grid | None:
    """The grid of lines that hang together. A side that nothing is drawn on is where the other lines end."""
    if len(across) < 2:
        return None
    xs = _places([rule.at for rule in down], [end for rule in across for end in (rule.start, rule.end)])
    ys = _places([rule.at for rule in across], [end for rule in down for end in (rule.start, rule.end)])
    if len(xs) < 3 or len(ys) < 3 or len(xs) * len(ys) > _MAX_SIDE * 10 or max(len(xs), len(ys)) > _MAX_SIDE:
        return None
    owner = {(r, c): (r, c) for r in range(len(ys) - 1) for c in range(len(xs) - 1)}
    for r, c in owner:
        if c and not _wall(down, xs[c], ys[r], ys[r + 1]):
            _join(owner, (r, c - 1), (r, c))
        if r and not _wall(across, ys[r], xs[c], xs[c + 1]):
            _join(owner, (r - 1, c), (r, c))
    return Grid(xs, ys, {field: _root(owner, field) for field in owner})


def _places(lines: Sequence[float], ends: Sequence[float]) -> list[float]:
    """Where lines are, each once, and the outermost ends of those that cross them."""
    inside = sorted(lines)
    outer = [end for end in (min(ends), max(ends)) if end < inside[0] - 2 * _NEAR or end > inside[-1] + 2 * _NEAR]
    found: list[float] = []
    for place in sorted([*inside, *outer]):
        if not found or place - found[-1] > _NEAR:
            found.append(place)
    return found


def _wall(rules: Sequence[Rule], at: float, start: float, end: float) -> bool:
    """True if enough of the stretch is drawn."""
    drawn = sum(
        max(0.0, min(rule.end, end) - max(rule.start, start)) for rule in rules if abs(rule.at - at) <= _NEAR + 0.5
    )
    return drawn >= _WALL * (end - start)


def _root(owner: dict[tuple[int, int], tuple[int, int]], field: tuple[int, int]) -> tuple[int, int]:
    while owner[field] != field:
        field = owner[field]
    return field


def _join(owner: dict[tuple[int, int], tuple[int, int]], one: tuple[int, int], other: tuple[int, int]) -> None:
    first, second = sorted((_root(owner, one), _root(owner, other)))
    owner[second] = first
