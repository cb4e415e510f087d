"""Paragraphs of an RTF file become headings, lists, tables and text, by their properties and styles."""

from __future__ import annotations

import re

from datadistiller.model import BlockKind
from datadistiller.parsing import headers, tables
from datadistiller.parsing.pages import PageBuilder

_HEADING_NAME = re.compile(r"heading\s*([1-9])$", re.I)


class Blocks:
    """Collects what the reader finds, in order; notes and running headers stand at the end."""

    def __init__(self) -> None:
        self.page = PageBuilder()
        self.title = ""
        self.in_table = False
        self._levels: dict[int, int] = {}  # style -> heading level
        self._style = 0  # the style being defined, then that of the paragraph
        self._outline = 0
        self._item = False
        self._indent = 0
        self._items: list[str] = []
        self._cells: list[str] = []
        self._rows: list[list[str]] = []
        self._merged = False
        self._apart: dict[str, None] = {}

    def style_word(self, word: str, value: int | None) -> None:
        """A word in the definition of a style."""
        if word == "s":
            self._style = value or 0
        elif word == "outlinelevel":
            self._outline = _level(value)

    def end_style(self, name: str) -> None:
        """The definition of a style ends."""
        name = name.strip().rstrip(";").strip()
        found = _HEADING_NAME.match(name)
        level = min(int(found[1]), 6) if found else 1 if name.lower() == "title" else self._outline
        if level:
            self._levels[self._style] = level
        self._style = self._outline = 0

    def word(self, word: str, value: int | None) -> None:
        """A word that says what the paragraph is."""
        if word == "pard":
            self._style = self._outline = self._indent = 0
            self._item = self.in_table = False
        elif word == "s":
            self._style = value or 0
        elif word == "outlinelevel":
            self._outline = _level(value)
        elif word == "intbl":
            self.in_table = True
        elif word in ("clmgf", "clvmgf"):
            self._merged = True
        elif word == "ls":
            self._item = bool(value)
        elif word == "ilvl":
            self._indent = min(max(0, value or 0), 8)

    def mark_item(self) -> None:
        """The paragraph has a bullet or a number, so it is an item of a list."""
        self._item = True

    def paragraph(self, text: str) -> None:
        """A paragraph outside of tables ends."""
        level = self._outline or self._levels.get(self._style, 0)
        if not text.strip():
            return
        self._end_table()
        if level:
            self._end_list()
            text = " ".join(text.split())
            self.title = self.title or text[:300]
            self.page.add(BlockKind.HEADING, text, level)
        elif self._item:
            self._items.append("  " * self._indent + "- " + " ".join(text.split()))
        else:
            self._end_list()
            self.page.add(BlockKind.PARAGRAPH, text)

    def cell(self, text: str) -> None:
        """A cell of a table ends."""
        self._end_list()
        self._cells.append(text.strip())

    def row(self) -> None:
        """A row ends."""
        if any(self._cells):
            self._rows.append(self._cells)
        self._cells = []

    def add_apart(self, text: str, word: str) -> None:
        """A note, or the text of a running header: each different one counts once."""
        if any(c.isalnum() for c in text):
            self._apart[f"{word}: {text}" if word else text] = None

    def end(self) -> None:
        """The document ends."""
        self.row()
        self._end_table()
        self._end_list()
        for text in self._apart:
            self.page.add(BlockKind.PARAGRAPH, text)

    def _end_list(self) -> None:
        self.page.add(BlockKind.LIST, "\n".join(self._items))
        self._items = []

    def _end_table(self) -> None:
        rows, self._rows = self._rows, []
        merged, self._merged = self._merged, False
        if max(map(len, rows), default=0) < 2:
            for row in rows:
                self.page.add(BlockKind.PARAGRAPH, "\n".join(row))
            return
        rows = [[" ".join(cell.split()) for cell in row] for row in rows]
        header = None if merged else headers.find(rows)
        self.page.add(BlockKind.TABLE, "\n".join(tables.lines(rows, header)))


def _level(value: int | None) -> int:
    """A heading level of an outline level; 9 is body text."""
    return min(value + 1, 6) if value is not None and 0 <= value < 9 else 0
