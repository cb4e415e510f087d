"""Puts a PDF page together: what stands on it becomes text in reading order, with tables and headings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from datadistiller.model import BlockKind
from datadistiller.parsing.pdf import order as pdf_order
from datadistiller.parsing.pdf import rules as pdf_rules
from datadistiller.parsing.pdf import tables as pdf_tables
from datadistiller.parsing.pdf.blocks import Layout
from datadistiller.parsing.pdf.lines import Piece
from datadistiller.parsing.pdf.notes import Note
from datadistiller.parsing.pdf.outline import Titles
from datadistiller.parsing.pdf.rules import Rule
from datadistiller.parsing.pdf.tables import Cell, Row, Table
from datadistiller.parsing.pdf.words import Box, Frame
from datadistiller.parsing.pdf.writer import PageWriter, Part

#: Rows after which the names of the columns are said again: fewer than a passage holds.
_ROWS = 6
#: Points by which rows are indented that a line with a colon is about.
_DEEPER = 2.0
#: Characters of what a column is called that are said again in each row.
_MAX_NAME_CHARS = 80


class Sheet(NamedTuple):
    """What stands on a page, in no order: texts, lines drawn across and down, fields and notes."""

    frame: Frame
    pieces: Sequence[Piece]
    across: Sequence[Rule] = ()
    down: Sequence[Rule] = ()
    notes: Sequence[Note] = ()


def compose(sheet: Sheet, titles: Titles, layout: Layout) -> PageWriter:
    """The text of a page; fields and notes come last."""
    writer = PageWriter((sheet.frame.width, sheet.frame.height))
    layout.learn(sheet.pieces)
    for part in parts(sheet):
        if isinstance(part, Table):
            write(part, writer)
        else:
            layout.add(part, titles, writer)
    notes = (part for note in sheet.notes for part in _note(note))
    writer.add(BlockKind.LIST, notes)
    return writer


def _note(note: Note) -> Iterator[Part]:
    if note.name:
        yield Part(f"{note.name}:", None, "\n")
    yield Part(note.text, note.box, " " if note.name else "\n")


def parts(sheet: Sheet) -> Iterator[list[Row] | Table]:
    """Runs of lines, and tables, in reading order."""
    tables, pieces = _ruled(sheet)
    standing = [Piece((), box, 0.0) for box in tables]
    for region in pdf_order.regions([*pieces, *standing]):
        run: list[Row] = []
        for row in pdf_order.rows(region):
            boxes = [piece.box for piece in row if not piece.words]
            if boxes:
                yield from pdf_tables.split(run)
                yield from (tables[box] for box in boxes)
                run = []
            if texts := [piece for piece in row if piece.words]:
                run.append(texts)
        yield from pdf_tables.split(run)


def _ruled(sheet: Sheet) -> tuple[dict[Box, Table], list[Piece]]:
    """The ruled tables of a page by where they are, and the pieces outside of them."""
    tables: dict[Box, Table] = {}
    pieces = list(sheet.pieces)
    for grid in pdf_rules.grids(sheet.across, sheet.down):
        inside = [piece for piece in pieces if piece.upright and _within(piece.box, grid.box)]
        table = pdf_tables.ruled(grid, inside)
        if table is not None:
            tables[grid.box] = table
            taken = set(map(id, inside))
            pieces = [piece for piece in pieces if id(piece) not in taken]
    return tables, pieces


def _within(box: Box, outline: Box) -> bool:
    """True if the middle of a box is inside an outline."""
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    return outline.left < x < outline.right and outline.top < y < outline.bottom


def write(table: Table, page: PageWriter) -> None:
    """A row is a line, its cells parted by bars. What names the columns is said again every few rows.

    Names before every value, as sheets have them, would make rows of long names three times as long: fewer of them fit
    a passage, and questions find them less often (measured on ``benchmarks.filings``).
    """
    page.add(BlockKind.TABLE, _lines(table, [_short(name) for name in pdf_tables.names(table)]))


def _lines(table: Table, names: Sequence[str]) -> Iterator[Part]:
    again = " | ".join(filter(None, names))
    section: Cell | None = None
    for number, row in enumerate(table.rows):
        below = number - table.head
        if again and below > 0 and below % _ROWS == 0:
            yield Part(again, None, "\n")
        if section is not None and row[0].box.left < section.box.left + _DEEPER:
            section = None
        if section is not None:  # what the rows below it are about
            yield Part(section.text, None, "\n")
        for n, cell in enumerate(row):
            yield Part(cell.text, cell.box, " | " if n else " " if section is not None else "\n")
        if below >= 0 and len(row) == 1 and row[0].column == 0 and row[0].text.endswith(":"):
            section = row[0]


def _short(name: str) -> str:
    """A name to be said again: not the units of a whole table, and not longer than it helps."""
    if name.startswith("("):
        return ""
    return name if len(name) <= _MAX_NAME_CHARS else name[:_MAX_NAME_CHARS].rsplit(" ", 1)[0]
