"""Rows of a sheet become tables and paragraphs of a page that know which cells they say."""

from __future__ import annotations

from collections.abc import Iterable

from datadistiller import cells
from datadistiller.cells import Cells
from datadistiller.model import BlockKind
from datadistiller.parsing import headers, tables
from datadistiller.parsing.pages import PageBuilder, clean, is_clean

_MAX_ROWS = 1000
#: A longer line is placed in pieces of about so many characters, so that a part of it is not called by all its columns.
_LONG_LINE, _PIECE = 400, 80
#: Places that a page has in any case, and characters of text for each further one: then rows of unlike width are placed
#: together, as wide as the widest, and memory stays in proportion to the text.
_FREE_PLACES, _CHARS_PER_PLACE = 10_000, 16

_END, _BOTTOM, _LEFT, _RIGHT = 1, 3, 4, 5

#: Number of the row, from 1, and the texts of its cells from column A on. Rows of no sheet are all ``UNPLACED``.
Row = tuple[int, list[str]]
UNPLACED = 0


class _Block:
    """The text of a block as it grows, and where it stands."""

    def __init__(self, page: PageBuilder) -> None:
        self._page = page
        self._parts: list[str] = []
        self._cells: list[list[int]] = []  # as ``Cells``, which cannot grow
        self._length = 0

    def add_row(self, row: Row, header: list[str] | None) -> None:
        """Adds a row of a table as a line."""
        number, texts = row
        pieces = tables.pieces(texts, header)
        between = tables.separator(header)
        text = between.join([piece for _, piece in pieces])
        if not is_clean(text):
            pieces = [(column, cleaned) for column, piece in pieces if (cleaned := clean(piece).strip())]
            text = between.join([piece for _, piece in pieces])
        if not text:
            return
        at = self._begin_line()
        if number == UNPLACED:
            pass
        elif len(text) <= _LONG_LINE or self._is_crowded():
            self._place_line(at, at + len(text), number, pieces[0][0] + 1, pieces[-1][0] + 1)
        else:
            self._place_pieces(at, number, pieces, len(between))
        self._append(text)

    def add_text(self, row: Row) -> None:
        """Adds the cells of a row as lines of their own."""
        number, texts = row
        for column, cell in enumerate(texts, 1):
            text = clean(cell).strip()
            if text:
                at = self._begin_line()
                if number != UNPLACED:
                    self._cells.append([at, at + len(text), number, number, column, column])
                self._append(text)

    def end(self, kind: BlockKind) -> None:
        """Puts the block on the page."""
        self._page.add(kind, "".join(self._parts), cells=[Cells(*one) for one in self._cells])

    def _begin_line(self) -> int:
        if self._parts:
            self._append("\n")
        return self._length

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)

    def _is_crowded(self) -> bool:
        places = len(self._cells) + self._page.places
        return places > _FREE_PLACES + (self._page.length + self._length) // _CHARS_PER_PLACE

    def _place_line(self, start: int, end: int, row: int, left: int, right: int) -> None:
        """A row right below the one before is placed with it, if it is as wide."""
        above = self._cells[-1] if self._cells else [0] * 6
        alike = above[_LEFT] == left and above[_RIGHT] == right
        if above[_END] != start - 1 or above[_BOTTOM] != row - 1 or not (alike or self._is_crowded()):
            self._cells.append([start, end, row, row, left, right])
            return
        above[_END], above[_BOTTOM] = end, row
        above[_LEFT], above[_RIGHT] = min(left, above[_LEFT]), max(right, above[_RIGHT])

    def _place_pieces(self, at: int, row: int, pieces: list[tuple[int, str]], gap: int) -> None:
        start, left = at, pieces[0][0] + 1
        for n, (column, text) in enumerate(pieces):
            at += len(text)
            if at - start >= _PIECE or n == len(pieces) - 1:
                self._cells.append([start, at, row, row, left, column + 1])
                start = at + gap
                left = pieces[n + 1][0] + 1 if n + 1 < len(pieces) else 0
            at += gap


def add_rows(rows: Iterable[Row], page: PageBuilder) -> None:
    """Each run of rows is a table; rows of one cell above it are text; a run without header goes on under the last.

    Empty rows part them: where the numbers of rows have a gap, an empty one stands for all of it.
    """
    run: list[Row] = []
    header: list[str] | None = None
    begun = False  # the run goes on a table whose first rows are on the page already
    for row in rows:
        filled = any(row[1])
        if filled:
            run.append(row)
        if len(run) == _MAX_ROWS or not filled:  # a long table becomes several blocks: memory holds one of them
            header = _add_run(run, header, begun, page)
            begun = filled
            run = []
    _add_run(run, header, begun, page)


def add_unplaced(rows: Iterable[list[str]], page: PageBuilder) -> None:
    """The same for a table that is no sheet of its own: nothing says which cells it stands in."""
    add_rows(((UNPLACED, row) for row in rows), page)


def _add_run(run: list[Row], header: list[str] | None, begun: bool, page: PageBuilder) -> list[str] | None:
    """Adds rows that are not empty, if there are any; returns the header of the table they belong to."""
    if begun:
        _add_lines(run, header, 0, page)
        return header
    return _add_table(run, header, page) if run else header


def _add_table(run: list[Row], above: list[str] | None, page: PageBuilder) -> list[str] | None:
    """Adds one run of rows; ``above`` is the header of the one before. Returns the header used."""
    single = next((i for i, (_, row) in enumerate(run) if sum(1 for cell in row if cell) > 1), len(run))
    text = _Block(page)
    for row in run[:single]:
        text.add_text(row)
    text.end(BlockKind.PARAGRAPH)
    run = run[single:]
    if not run:
        return None
    rows = [row for _, row in run]
    own = headers.find(rows)
    header = list(own.names) if own is not None else None
    if header is None and not single and above is not None and max(map(len, rows)) <= len(above):
        header = above
    _add_lines(run, header, own.rows if own is not None else 0, page)
    if header is None and len(rows) == 1 and headers.names_columns(rows[0]):
        return headers.flat(rows[0])  # parted from its rows by an empty one
    return header


def _add_lines(run: list[Row], header: list[str] | None, own: int, page: PageBuilder) -> None:
    """Adds a table; the first ``own`` rows are its header and stand as they are."""
    table = _Block(page)
    for row in run[:own]:
        table.add_row(row, None)
    for row in run[own:]:
        table.add_row(row, header)
    table.end(BlockKind.TABLE)


def add_comment(place: tuple[int, int] | None, text: str, page: PageBuilder) -> None:
    """Adds a comment on the cell with this row and column, from 1: it stands where the cell does. None: on no cell."""
    text = " ".join(clean(text).split())
    if not text:
        return
    if place is None:
        page.add(BlockKind.PARAGRAPH, f"Comment: {text}")
        return
    row, column = place
    said = f"Comment on {cells.column(column)}{row}: {text}"
    page.add(BlockKind.PARAGRAPH, said, cells=[Cells(0, len(said), row, row, column, column)])
