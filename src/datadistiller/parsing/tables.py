"""Rows of cells become lines that still make sense when a table is cut into passages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from datadistiller.model import BlockKind
from datadistiller.parsing.pages import PageBuilder

_NUMERIC = re.compile(r"[\s\d.,:/%$€£()+-]*$")
_YEAR = re.compile(r"(?:1[89]|20|21)\d\d$")
_MAX_HEADER_CHARS = 80
_LOOKED_AT = 5  # rows below a header
_MAX_ROWS = 1000


def header_row(rows: Sequence[Sequence[str]]) -> Sequence[str] | None:
    """The first row if it evidently names the columns of rows that are below it. Its corner may be empty."""
    if len(rows) < 2 or not _names_columns(rows[0], rows[1 : 1 + _LOOKED_AT]):
        return None
    widest = max(sum(1 for cell in row if cell) for row in rows[1 : 1 + _LOOKED_AT])
    corner = not rows[0][0] and any(row and row[0] for row in rows[1 : 1 + _LOOKED_AT])
    return rows[0] if sum(1 for cell in rows[0] if cell) >= widest - corner else None


def _names_columns(row: Sequence[str], below: Sequence[Sequence[str]] = ()) -> bool:
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


def line(cells: Sequence[str], header: Sequence[str] | None) -> str:
    """One row as ``header: value; header: value``, or its cells with bars between where there is no header."""
    flat = (" ".join(cell.split()) for cell in cells)
    if header is None:
        return " | ".join(cell for cell in flat if cell)
    names = (header[i] if i < len(header) else "" for i in range(len(cells)))
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in zip(names, flat, strict=True) if cell)


def lines(rows: Sequence[Sequence[str]], header: Sequence[str] | None) -> Iterator[str]:
    """Each row that is not empty as a line; the row that is the header comes first, as it stands."""
    for row in rows:
        text = line(row, None if row is header else header)
        if text:
            yield text


def add_rows(rows: Iterable[list[str]], page: PageBuilder) -> None:
    """Each run of rows is a table; rows of one cell above it are text; a run without header goes on under the last."""
    run: list[list[str]] = []
    header: list[str] | None = None
    begun = False  # the run goes on a table whose first rows are on the page already
    for row in rows:
        if any(row):
            run.append(row)
        if len(run) == _MAX_ROWS or not any(row):  # a long table becomes several blocks: memory holds one of them
            header = _add_run(run, header, begun, page)
            begun = any(row)
            run = []
    _add_run(run, header, begun, page)


def _add_run(rows: list[list[str]], header: list[str] | None, begun: bool, page: PageBuilder) -> list[str] | None:
    """Adds rows that are not empty, if there are any; returns the header of the table they belong to."""
    if begun:
        page.add(BlockKind.TABLE, "\n".join(lines(rows, header)))
        return header
    return _add_table(rows, header, page) if rows else header


def _add_table(rows: list[list[str]], above: list[str] | None, page: PageBuilder) -> list[str] | None:
    """Adds one run of rows; ``above`` is the header of the one before. Returns the header used."""
    single = next((i for i, row in enumerate(rows) if sum(1 for cell in row if cell) > 1), len(rows))
    page.add(BlockKind.PARAGRAPH, "\n".join(cell for row in rows[:single] for cell in row if cell))
    rest = rows[single:]
    if not rest:
        return None
    header = header_row(rest)
    if header is None and not single and above is not None and max(map(len, rest)) <= len(above):
        header = above
    page.add(BlockKind.TABLE, "\n".join(lines(rest, header)))
    if header is None and len(rest) == 1 and _names_columns(rest[0]):
        header = rest[0]  # parted from its rows by an empty one
    return list(header) if header is not None else None
