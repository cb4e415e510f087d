"""Rows of cells become lines that still make sense when a table is cut into passages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datadistiller.parsing.headers import Names


def pieces(cells: Sequence[str], names: Sequence[str] | None) -> list[tuple[int, str]]:
    """A row's cells that are not empty as they stand in its line: (column from 0, ``name: value`` or the value)."""
    found = []
    named = len(names) if names is not None else 0
    for column, cell in enumerate(cells):
        if value := " ".join(cell.split()):
            name = names[column] if names is not None and column < named else ""
            found.append((column, f"{name}: {value}" if name else value))
    return found


def separator(names: Sequence[str] | None) -> str:
    """What stands between the pieces of a line."""
    return " | " if names is None else "; "


def line(cells: Sequence[str], names: Sequence[str] | None) -> str:
    """One row as ``name: value; name: value``, or its cells with bars between where the columns have no names."""
    return separator(names).join(text for _, text in pieces(cells, names))


def lines(rows: Sequence[Sequence[str]], header: Names | None) -> Iterator[str]:
    """Each row that is not empty as a line; those of the header come first, as they stand, and are not repeated."""
    names, own = (header.names, header.rows) if header is not None else (None, 0)
    said: set[str] = set()
    for row in rows[:own]:
        text = line(row, None)
        if text and text not in said:
            yield text
        said.add(text)
    for row in rows[own:]:
        text = line(row, names)
        if text and (names is None or line(row, None) not in said):
            yield text
