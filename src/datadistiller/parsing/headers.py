"""Which rows of a table name its columns, and how: one row, or several that are joined ("2023 Revenue")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_NUMERIC = re.compile(r"[\s\d.,:/%$€£()+-]*$")
_YEAR = re.compile(r"(?:1[89]|20|21)\d\d$")
_MAX_CHARS = 80
_LOOKED_AT = 5  # rows below a header
_MOST_ROWS = 3
#: Cells that are said again in the rows below into which they reach, in one table.
_MOST_SPREAD = 10_000

Rows = Sequence[Sequence[str]]
#: How many columns the cell at a (row, column) reaches over, where that is more than one.
Widths = Mapping[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a table's columns; its first ``rows`` rows are those, and what stands above them."""

    names: Sequence[str]
    rows: int = 1


def flat(cells: Sequence[str]) -> list[str]:
    """The texts without line breaks and other white space that shows in no name."""
    return [" ".join(cell.split()) for cell in cells]


def find(rows: Rows, widths: Widths | None = None, told: int = 0) -> Names | None:
    """The names of the columns, if the first rows evidently say them.

    ``told``: so many rows are the header, as the document says. ``widths`` of cells are None if the document does not
    say them: then an empty cell may belong to the one on its left.
    """
    title = 0
    if widths and len(rows) > 2 and sum(1 for cell in rows[0] if cell) == 1:
        reach = max((width for (row, _), width in widths.items() if row == 0), default=1)
        title = int(reach >= max(map(len, rows)))
    head = rows[title:]
    below = {(row - title, column): width for (row, column), width in (widths or {}).items()}
    told = min(told - title, _MOST_ROWS, len(head) - 1)
    if told > 0:
        return Names(_joined(head[:told], below), title + told)
    one = header_row(head)
    if one is not None:
        return Names(flat(one), title + 1)
    two = _two_rows(head, below if widths is not None else None)
    return Names(two, title + 2) if two else None


def header_row(rows: Rows) -> Sequence[str] | None:
    """The first row if it evidently names the columns of rows that are below it. Its corner may be empty."""
    if len(rows) < 2 or not names_columns(rows[0], rows[1 : 1 + _LOOKED_AT]):
        return None
    return rows[0] if _covers(rows[0], rows[1 : 1 + _LOOKED_AT]) else None


def names_columns(row: Sequence[str], below: Rows = ()) -> bool:
    """Two or more different short texts, no number among them but years over columns that are not of years."""
    names = [cell for cell in row if cell]
    return len(names) >= 2 and len(set(names)) == len(names) and _may_name(row, below)


def _may_name(row: Sequence[str], below: Rows) -> bool:
    return not any(
        len(name) > _MAX_CHARS or (_NUMERIC.match(name) and not _is_year_over(below, column, name))
        for column, name in enumerate(row)
        if name
    )


def _covers(names: Sequence[str], below: Rows) -> bool:
    widest = max(sum(1 for cell in row if cell) for row in below)
    corner = not names[0] and any(row and row[0] for row in below)
    return sum(1 for cell in names if cell) >= widest - corner


def _is_year_over(below: Rows, column: int, name: str) -> bool:
    cells = _column(below, column)
    return bool(cells and _YEAR.match(name)) and 2 * sum(1 for cell in cells if _YEAR.match(cell)) < len(cells)


def _column(rows: Rows, column: int) -> list[str]:
    return [row[column] for row in rows if column < len(row) and row[column]]


def _two_rows(rows: Rows, widths: Widths | None) -> list[str] | None:
    """Groups of columns over their names: two groups, or names that differ by them alone, and figures below."""
    if len(rows) < 3 or not rows[0]:
        return None
    top, second, below = rows[0], rows[1], rows[2 : 2 + _LOOKED_AT]
    groups = _reaching(top, 0, widths, second)
    names = _joined(rows[:2], widths, groups)
    grouped = [column for column, name in enumerate(second) if name and groups[column] not in ("", name)]
    several = len({groups[column] for column in grouped}) > 1 or len({second[c] for c in grouped}) < len(grouped)
    figures = any(all(map(_NUMERIC.match, _column(below, column))) and _column(below, column) for column in grouped)
    evident = len(grouped) > 1 and figures and (several or bool(widths))
    years = [name if not _YEAR.match(name) else "" for name in top]
    if not (evident and _may_name(second, below) and _may_name(years, below)):
        return None
    return names if names_columns([name for name in names if name]) and _covers(names, below) else None


def _joined(rows: Rows, widths: Widths | None, groups: Sequence[str] = ()) -> list[str]:
    """The names of columns that stand in several rows, each part of a name once."""
    width = max(map(len, rows))
    filled = [_reaching(row, at, widths, ()) if widths is not None else list(row) for at, row in enumerate(rows)]
    if groups:
        filled[0] = list(groups)
    parts = [[row[column] for row in filled if column < len(row) and row[column]] for column in range(width)]
    names = [" ".join(flat(list(dict.fromkeys(part)))) for part in parts]
    return [name if len(name) <= _MAX_CHARS else "" for name in names]


def _reaching(row: Sequence[str], at: int, widths: Widths | None, second: Sequence[str]) -> list[str]:
    """A row whose cells are said in each column that they reach over: as told, else up to the next one."""
    filled: list[str] = []
    text, until = "", 0
    for column in range(max(len(row), len(second))):
        own = row[column] if column < len(row) else ""
        if own:
            named = column < len(second) and second[column] not in ("", own)
            reach = widths.get((at, column), 1) if widths is not None else len(second) - column if named else 1
            text, until = own, column + reach
        elif column >= until:
            text = ""
        filled.append(text)
    return filled


def spread(rows: Sequence[list[str]], heights: Mapping[tuple[int, int], int]) -> None:
    """Says short texts again in the rows below into which their cells reach; ``heights`` by (row, column)."""
    left = _MOST_SPREAD
    for (row, column), height in heights.items():
        text = rows[row][column]
        if not text or len(text) > _MAX_CHARS:
            continue
        for under in rows[row + 1 : row + height]:
            if not any(under) or left == 0:
                continue
            under += [""] * (column + 1 - len(under))
            if not under[column]:
                under[column] = text
                left -= 1
