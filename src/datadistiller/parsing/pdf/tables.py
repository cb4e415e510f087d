"""Tables of a PDF page: those in a ruled grid, and those that only the alignment of their texts shows."""

from __future__ import annotations

import re
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from datadistiller.parsing.pdf.lines import Piece, merged, union
from datadistiller.parsing.pdf.order import rows
from datadistiller.parsing.pdf.rules import Grid
from datadistiller.parsing.pdf.words import Box

Row = Sequence[Piece]

_NUMBER = re.compile(
    r"[(\[<>~≈±+–—−-]*\s*[$€£¥%]?\s*[(–—−-]?\d[\d\s.,'’]*\)?\s*(%|[a-z]{1,3}|\*+)?[)\]]*\d?$|[–—−-]{1,3}$|n/?a$", re.I
)
_YEAR = re.compile(r"(19|20)\d\d([/–-]\d{2,4})?\*?$")
_SIGN = re.compile(r"[$€£¥`(]+$")
_CLOSING = re.compile(r"[)%]+$|pts?$")
_MARKER = re.compile(r"[•●▪◦‣∙·–—*-]$|\(?[0-9]{1,2}[.)]$|\(?[a-zA-Z]{1,4}[.)]$")
_MAX_HEADER_ROWS = 8
#: A gap of less than this many heights parts words, not cells.
_SPACE = 0.35
#: Heights that a name of several columns begins to the right of the first column.
_INDENT = 5.0
#: Lines without a second column that may stand between rows of a table.
_MAX_LABELS = 3
#: Characters of a ruled cell; with more it is a frame around text.
_MAX_CELL_CHARS = 1_500
#: The share of texts that begin with a small letter from which they are running text.
_FLOWING = 0.4
#: How often a table is looked for in lines that might be one, each time with one line less.
_MAX_TRIES = 8
#: Lines of a table lie no further apart than this many heights.
_MAX_GAP = 3.0


class Cell(NamedTuple):
    """What stands in one place of a table; ``span`` columns from ``column`` on."""

    text: str
    box: Box
    column: int
    span: int = 1


class Table(NamedTuple):
    """Rows of cells; the first ``head`` of them name the columns."""

    rows: list[list[Cell]]
    columns: int
    head: int

    @property
    def box(self) -> Box:
        """The smallest box around its cells."""
        return union([cell.box for row in self.rows for cell in row])


def split(lines: Sequence[Row]) -> Iterator[list[Row] | Table]:
    """The lines of a region in their order: runs of text, and tables."""
    joined = [_joined(row) for row in lines]
    text: list[Row] = []
    at = tries = last = 0
    while at < len(lines):
        end = _extent(joined, at)
        above, table = _table(joined[at:end]) if end - at > 1 else (1, None)
        if isinstance(table, list):
            yield from filter(None, (text, *table))
            text, at = [], end
            continue
        if table is None:
            tries, last = (tries + 1 if end == last else 0), end
            above = max(above, 1) if tries < _MAX_TRIES else max(end - at, 1)
            text += lines[at : at + above]
            at += above
            continue
        text += lines[at : at + above]
        if text:
            yield text
            text = []
        yield table
        at = end
    if text:
        yield text


def ruled(grid: Grid, pieces: Sequence[Piece]) -> Table | None:
    """The texts inside a grid as a table; None if it is no table but a frame or a form around running text."""
    texts: defaultdict[tuple[int, int], list[Piece]] = defaultdict(list)
    for piece in pieces:
        for part in _apart(piece, grid.xs):
            row = bisect(grid.ys, (part.box.top + part.box.bottom) / 2) - 1
            column = bisect(grid.xs, (part.box.left + part.box.right) / 2) - 1
            texts[grid.owner.get((row, column), (0, 0))].append(part)
    spans = _spans(grid)
    crowded = sum(_crowded(rows(cell), spans[field]) for field, cell in texts.items())
    if 10 * crowded > len(texts):  # its lines are drawn in part only: what stands below each other tells more
        return None
    found: list[list[Cell]] = []
    for row in range(len(grid.ys) - 1):
        fields = [(column, texts[row, column]) for column in range(len(grid.xs) - 1) if texts.get((row, column))]
        found += _lined(fields, {column: spans[row, column] for column, _ in fields})
    return _checked(found, len(grid.xs) - 1)


def _crowded(lines: Sequence[Row], span: int) -> int:
    """How many lines of a ruled cell look like several cells."""
    parts = [pieces for line in lines if len(pieces := _joined(line)) > 1]
    return sum(1 for pieces in parts if span > 1 or all(_NUMBER.match(piece.text) for piece in pieces[1:]))


def _apart(piece: Piece, xs: Sequence[float]) -> Iterator[Piece]:
    """A piece cut where it reaches from one column into the next."""
    for _, words in groupby(piece.words, key=lambda word: bisect(xs, (word.left + word.right) / 2)):
        part = tuple(words)
        box = piece.box._replace(left=min(word.left for word in part), right=max(word.right for word in part))
        yield piece if len(part) == len(piece.words) else piece._replace(words=part, box=box)


def _spans(grid: Grid) -> dict[tuple[int, int], int]:
    """How many columns each cell goes over, by its first field."""
    last: dict[tuple[int, int], int] = {}
    for (_, column), owner in grid.owner.items():
        last[owner] = max(last.get(owner, 0), column)
    return {owner: column - owner[1] + 1 for owner, column in last.items()}


def _lined(fields: Sequence[tuple[int, list[Piece]]], spans: Mapping[int, int]) -> list[list[Cell]]:
    """A ruled row as one row of cells, or as many as it has lines, if figures stand beside each other in them."""
    lines = {column: rows(pieces) for column, pieces in fields}
    counts = Counter(len(found) for column, found in lines.items())
    if not counts:
        return []
    tall = [column for column, found in lines.items() if len(found) > 2 or (len(found) > 1 and len(lines) > 2)]
    figures = [c for c in tall if sum(1 for r in lines[c] if _NUMBER.match(_text(r))) > 0.7 * len(lines[c])]
    if len(figures) < max(1, len(lines) // 2):
        return [[_cell(found, column, spans[column]) for column, found in lines.items()]]
    flat = [(column, row) for column, found in lines.items() for row in found]
    flat.sort(key=lambda item: item[1][0].box.top)
    found: list[list[Cell]] = []
    bottom = -1.0
    for column, row in flat:
        cell = _cell([row], column, spans[column])
        if (cell.box.top + cell.box.bottom) / 2 > bottom:
            found.append([])
            bottom = cell.box.bottom
        found[-1].append(cell)
    return [sorted(line, key=lambda cell: cell.column) for line in found]


def _text(row: Row) -> str:
    return " ".join(piece.text for piece in row)


def _cell(lines: Sequence[Row], column: int, span: int) -> Cell:
    return Cell(" ".join(map(_text, lines)), union([piece.box for line in lines for piece in line]), column, span)


def _checked(rows: list[list[Cell]], columns: int) -> Table | None:
    filled = [row for row in rows if row]
    used = {cell.column for row in filled for cell in row}
    longest = max((len(cell.text) for row in filled for cell in row), default=0)
    if len(filled) < 2 or len(used) < 2 or max(map(len, filled)) < 2 or longest > _MAX_CELL_CHARS:
        return None
    return Table(filled, columns, _head(filled))


def _joined(row: Row) -> list[Piece]:
    """A line with signs of currency, brackets and marks of lists joined to what they belong to."""
    found: list[Piece] = []
    for piece in row:
        before = found[-1] if found else None
        gap = piece.box.left - before.box.right if before is not None else 0.0
        near = gap < 12 * piece.height
        if before is not None and (
            gap < _SPACE * piece.height
            or (near and _SIGN.match(before.text) and piece.text[:1].isdigit() | (piece.text[:1] in "(—–-"))
            or (near and _CLOSING.match(piece.text) and before.text[-1:].isdigit())
            or (len(found) == 1 and _MARKER.match(before.text) and not _NUMBER.match(piece.text))
        ):
            found[-1] = merged([before, piece])
        else:
            found.append(piece)
    return found


def _extent(rows: Sequence[list[Piece]], start: int) -> int:
    """Where the table that may begin with line ``start`` ends."""
    if len(rows[start]) < 2 and not _stands_over(rows[start][0], rows[start + 1 : start + 4]):
        return start
    end = at = start + 1
    while at < len(rows):
        gap = rows[at][0].box.top - rows[at - 1][0].box.bottom
        if gap > _MAX_GAP * max(rows[at][0].height, 1.0) or gap < -2 * rows[at][0].height:
            break
        if len(rows[at]) > 1:
            end = at + 1
        elif at - end >= _MAX_LABELS:
            break
        at += 1
    return end


def _stands_over(piece: Piece, below: Sequence[list[Piece]]) -> bool:
    """True for a single name above columns, the first of which it does not reach."""
    if not below or len(below[0]) < 2 or below[0][0].box.top - piece.box.bottom > piece.height:
        return False
    return piece.box.left > min(row[0].box.left for row in below) + _INDENT * piece.height


def _table(rows: Sequence[list[Piece]]) -> tuple[int, Table | list[list[Row]] | None]:
    """The lines as a table, if they stand in columns, and how many before it do not belong to it.

    Running text side by side is no table but columns of lines.
    """
    columns = _columns(rows)
    placed = [_placed(row, columns) for row in rows]
    above = _above(placed)
    full = [row for row in placed[above:] if len(row) > 1]
    if len(columns) < 2 or len(full) < 2:
        return max(above, 1), None
    cells = [cell for row in full for cell in row if cell.column]
    numbers = sum(1 for cell in cells if _NUMBER.match(cell.text))
    if 2 * numbers < len(cells):
        if not _aligned(full, len(columns)):
            return 1, None
        if _flowing(placed):
            return 0, _side_by_side(rows, columns)
    grown = _unwrapped(placed[above:])
    return above, Table(grown, len(columns), _head(grown))


def _above(rows: Sequence[list[Cell]]) -> int:
    """How many lines above the first with figures are no header of them: up to the last that goes over the columns."""
    first = next((n for n, row in enumerate(rows) if any(map(_figure, row[1:]))), 0)
    label = first - 1 if first and len(rows[first - 1]) == 1 and rows[first - 1][0].column == 0 else first
    return next((n + 1 for n in range(label - 1, -1, -1) if len(rows[n]) == 1 and rows[n][0].column == 0), 0)


def _figure(cell: Cell) -> bool:
    """True for a number that is no year."""
    return _NUMBER.match(cell.text) is not None and _YEAR.match(cell.text) is None


def _columns(rows: Sequence[list[Piece]]) -> list[tuple[float, float]]:
    """From where to where the columns reach: what no line with many pieces crosses parts them."""
    most = max(map(len, rows))
    telling = [row for row in rows if len(row) > 1 and 2 * len(row) >= most]
    spans = sorted((piece.box.left, piece.box.right) for row in telling for piece in row)
    columns: list[tuple[float, float]] = []
    for left, right in spans:
        if columns and left < columns[-1][1] + 1.0:
            columns[-1] = (columns[-1][0], max(right, columns[-1][1]))
        else:
            columns.append((left, right))
    return columns


def _placed(row: Sequence[Piece], columns: Sequence[tuple[float, float]]) -> list[Cell]:
    """The pieces of a line as cells; pieces that share a column are one."""
    found: list[Cell] = []
    for piece in row:
        left, right = piece.box.left, piece.box.right
        inside = [n for n, (begin, end) in enumerate(columns) if left < end and right > begin]
        nearest = min(range(len(columns)), key=lambda n: abs(sum(columns[n]) - left - right))
        first, span = (inside[0], len(inside)) if inside else (nearest, 1)
        if found and found[-1].column + found[-1].span > first:
            last = found.pop()
            text, box = f"{last.text} {piece.text}", union([last.box, piece.box])
            found.append(Cell(text, box, last.column, max(last.span, first + span - last.column)))
        else:
            found.append(Cell(piece.text, piece.box, first, span))
    return found


def _aligned(rows: Sequence[list[Cell]], columns: int) -> bool:
    """True if enough lines fill enough columns, and short, to be no accident of running text."""
    if len(rows) < 3:
        return False
    filled = sum(len(row) for row in rows) / (len(rows) * columns)
    chars = sum(len(cell.text) for row in rows for cell in row) / sum(map(len, rows))
    return filled > 0.6 and chars < 40


def _flowing(rows: Sequence[list[Cell]]) -> bool:
    """True if many texts go on from the line above, and none is in two columns."""
    cells = [cell for row in rows for cell in row]
    going_on = sum(1 for cell in cells if cell.text[0].islower())
    return going_on > _FLOWING * len(cells) and all(cell.span == 1 for cell in cells)


def _side_by_side(rows: Sequence[list[Piece]], columns: Sequence[tuple[float, float]]) -> list[list[Row]]:
    """The lines of each column."""
    found: list[list[Row]] = [[] for _ in columns]
    for piece in (piece for row in rows for piece in row):
        away = [max(left - piece.box.right, piece.box.left - right) for left, right in columns]
        found[away.index(min(away))].append([piece])
    return found


def _unwrapped(rows: Sequence[list[Cell]]) -> list[list[Cell]]:
    """Rows, with a label that goes over two lines in one cell."""
    found: list[list[Cell]] = []
    for row in rows:
        above = found[-1] if found else []
        if len(above) == 1 and above[0].column == 0 == row[0].column and row[0].text[:1].islower():
            label = Cell(f"{above[0].text} {row[0].text}", union([above[0].box, row[0].box]), 0, row[0].span)
            found[-1] = [label, *row[1:]]
        else:
            found.append(list(row))
    return found


def _head(rows: Sequence[list[Cell]]) -> int:
    """How many rows name the columns: those before the first that has a figure beside its label."""
    for number, row in enumerate(rows[:_MAX_HEADER_ROWS]):
        beside = [cell for cell in row if cell.column]
        if not beside:
            return number
        if any(map(_figure, beside)):
            return number
    return 0


def names(table: Table) -> list[str]:
    """What the header rows call each column, from the top down; empty where they say nothing."""
    found: list[list[str]] = [[] for _ in range(table.columns)]
    boxes = _column_boxes(table)
    for row in table.rows[: table.head]:
        for column in range(table.columns):
            cell = _above_column(row, column, boxes)
            if cell is not None and cell.text not in found[column]:
                found[column].append(cell.text)
    return [" ".join(parts) for parts in found]


def _above_column(row: Sequence[Cell], column: int, boxes: Sequence[Box]) -> Cell | None:
    """The cell of a header row that names a column: its own, or one that stands for several."""
    beside = [cell for cell in row if cell.column]
    each = _share(beside, len(boxes) - 1)
    if column and each:
        return beside[(column - 1) // each]
    own = next((cell for cell in row if cell.column <= column < cell.column + cell.span), None)
    if own is not None or not column:
        return own
    wide = (cell for cell in beside if not _inside(cell.box, boxes[cell.column]))
    return min(wide, key=lambda cell: _distance(cell.box, boxes[column]), default=None)


def _share(cells: Sequence[Cell], columns: int) -> int:
    """How many columns each cell stands for, if that is the same for all and each stands above one of its own; or 0."""
    if not cells or columns % len(cells) or columns == len(cells):
        return 0
    each = columns // len(cells)
    above = (n * each < cell.column and cell.column + cell.span <= (n + 1) * each + 1 for n, cell in enumerate(cells))
    return each if all(above) else 0


def _column_boxes(table: Table) -> list[Box]:
    """Where the figures and texts below the names stand, by column."""
    cells = [cell for row in table.rows[table.head :] for cell in row if cell.span == 1]
    spans = [[cell.box for cell in cells if cell.column == n] for n in range(table.columns)]
    return [union(boxes) if boxes else Box(0.0, 0.0, 0.0, 0.0) for boxes in spans]


def _inside(box: Box, column: Box) -> bool:
    return column.left - 2.0 <= box.left and box.right <= column.right + 2.0


def _distance(box: Box, column: Box) -> float:
    """How far the middle of a column is from a name."""
    middle = (column.left + column.right) / 2
    return max(0.0, box.left - middle, middle - box.right)
