"""Rows of cells become lines that still make sense when a table is cut into passages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_NUMERIC = re.compile(r"[\s\d.,:/%$€£()+-]*$")
_YEAR = re.compile(r"(?:1[89]|20|21)\d\d$")
_MAX_HEADER_CHARS = 80
_LOOKED_AT = 5  # rows below a header


def header_row(rows: Sequence[Sequence[str]]) -> Sequence[str] | None:
    """The first row if it evidently names the columns of rows that are below it. Its corner may be empty."""
    if len(rows) < 2 or not names_columns(rows[0], rows[1 : 1 + _LOOKED_AT]):
        return None
    widest = max(sum(1 for cell in row if cell) for row in rows[1 : 1 + _LOOKED_AT])
    corner = not rows[0][0] and any(row and row[0] for row in rows[1 : 1 + _LOOKED_AT])
    return rows[0] if sum(1 for cell in rows[0] if cell) >= widest - corner else None


def names_columns(row: Sequence[str], below: Sequence[Sequence[str]] = ()) -> bool:
    """Two or more different short texts, no number among them but years over columns that are not of years."""
    names = [cell for cell in row if cell]
    distinct = len(names) >= 2 and len(set(names)) == len(names)
    return distinct and not any(
        len(name) > _MAX_HEADER_CHARS or (_NUMERIC.match(name) and not _is_year_over(below, column, name))
        for column, name in enumerate(row)
        if name
    )


def _is_year_over(below: Sequence[Sequence[str]], column: int, name: str) -> bool:
    cells = [row[column] for row in below if column < len(row) and row[column]]
    return bool(cells and _YEAR.match(name)) and 2 * sum(1 for cell in cells if _YEAR.match(cell)) < len(cells)


def pieces(cells: Sequence[str], header: Sequence[str] | None) -> list[tuple[int, str]]:
    """A row's cells that are not empty as they stand in its line: (column from 0, ``header: value`` or the value)."""
    found = []
    names = len(header) if header is not None else 0
    for column, cell in enumerate(cells):
        if value := " ".join(cell.split()):
            name = header[column] if header is not None and column < names else ""
            found.append((column, f"{name}: {value}" if name else value))
    return found


def separator(header: Sequence[str] | None) -> str:
    """What stands between the pieces of a line."""
    return " | " if header is None else "; "


def line(cells: Sequence[str], header: Sequence[str] | None) -> str:
    """One row as ``header: value; header: value``, or its cells with bars between where there is no header."""
    return separator(header).join(text for _, text in pieces(cells, header))


def flat(cells: Sequence[str]) -> list[str]:
    """The texts without line breaks and other white space that shows in no name."""
    return [" ".join(cell.split()) for cell in cells]


def lines(rows: Sequence[Sequence[str]], header: Sequence[str] | None) -> Iterator[str]:
    """Each row that is not empty as a line; the row that is the header comes first, as it stands."""
    names = flat(header) if header is not None else None
    for row in rows:
        text = line(row, None if row is header else names)
        if text:
            yield text
