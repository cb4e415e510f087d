"""Word 97-2003 documents (and Word 6 and 95): paragraphs, headings, lists, tables, notes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from datadistiller import errors
from datadistiller.model import BlockKind
from datadistiller.parsing import Header, Item, formats, headers, tables
from datadistiller.parsing.office.doc_file import APART, DocFile, Properties
from datadistiller.parsing.office.ole import Container
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.passwords import Locked

_WHAT = "Word document"
_PARAGRAPH = re.compile("[^\r\x07\x0c]*[\r\x07\x0c]?")
#: Field code up to its result; then the end of a field. Codes nest, so they are taken off from the inside out.
_FIELD = re.compile("\x13[^\x13\x14\x15]*(?:\x14([^\x13\x14\x15]*))?\x15")
_FIELD_DEPTH = 50
#: A code whose result goes on in other paragraphs, as that of a table of contents does.
_OPEN_CODE = re.compile("\x13[^\x13\x14\x15]*\x14")
#: What an equation field writes over other text (phonetic guides of Japanese) has no result; its last argument is it.
_EQUATION = re.compile(r"\s*EQ\b.*,([^,()]+)\)\s*$", re.S)
_MARKS = dict.fromkeys(map(ord, "\x01\x02\x03\x04\x05\x06\x08\x10\x11\x12\x13\x14\x15\x1f"), "") | {
    0x0B: "\n", 0x0E: "\n", 0x1E: "-"
}  # fmt: skip


def shown(text: str) -> str:
    """``text`` without field codes and the marks of pictures and notes."""
    for _ in range(_FIELD_DEPTH):
        text, found = _FIELD.subn(_result, text)
        if not found:
            break
    return _OPEN_CODE.sub("", text).translate(_MARKS)


def _result(field: re.Match[str]) -> str:
    """What a field shows."""
    if field[1]:
        return field[1]
    equation = _EQUATION.match(field[0].strip("\x13\x14\x15"))
    return equation[1] if equation else ""


class _Body:
    """Turns the paragraphs of the main text into blocks."""

    def __init__(self) -> None:
        self.page = PageBuilder()
        self.title = ""
        self._items: list[str] = []
        self._cell: list[str] = []
        self._cells: list[str] = []
        self._rows: list[list[str]] = []

    def add(self, text: str, mark: str, properties: Properties) -> None:
        """Adds a paragraph that ends with ``mark``."""
        if properties.row_end or properties.in_table or mark == "\x07":
            self._table(text, mark, properties)
            return
        self._end_table()
        if not text.strip():
            return
        if properties.level:
            self._end_list()
            text = " ".join(text.split())
            self.title = self.title or text[:300]
            self.page.add(BlockKind.HEADING, text, properties.level)
        elif properties.listed:
            self._items.append("  " * properties.indent + "- " + " ".join(text.split()))
        else:
            self._end_list()
            self.page.add(BlockKind.PARAGRAPH, text)

    def end(self) -> None:
        """The document ends."""
        self._end_table()
        self._end_list()

    def _table(self, text: str, mark: str, properties: Properties) -> None:
        self._end_list()
        # Before Word 97 properties are not read: an empty cell behind others is the end of the row.
        unknown = not properties.in_table and mark == "\x07"
        if properties.row_end or (unknown and not text.strip() and self._cells and not self._cell):
            self._end_row()
            return
        self._cell.append(text.strip())
        if mark == "\x07":
            self._cells.append("\n".join(filter(None, self._cell)))
            self._cell = []

    def _end_row(self) -> None:
        if self._cell:
            self._cells.append("\n".join(filter(None, self._cell)))
        if any(self._cells):
            self._rows.append(self._cells)
        self._cell, self._cells = [], []

    def _end_list(self) -> None:
        self.page.add(BlockKind.LIST, "\n".join(self._items))
        self._items = []

    def _end_table(self) -> None:
        self._end_row()
        rows, self._rows = self._rows, []
        if max(map(len, rows), default=0) < 2:
            for row in rows:
                self.page.add(BlockKind.PARAGRAPH, "\n".join(row))
            return
        rows = [[" ".join(cell.split()) for cell in row] for row in rows]
        self.page.add(BlockKind.TABLE, "\n".join(tables.lines(rows, headers.find(rows))))


def _add_apart(file: DocFile, page: PageBuilder) -> None:
    """Text boxes, then footnotes, endnotes and comments, then headers and footers, each different one once."""
    seen: set[str] = set()
    for part, word in APART:
        for paragraph in shown(file.text(part)).split("\r"):
            text = " ".join(paragraph.replace("\x07", " ").split())
            if any(c.isalnum() for c in text) and text not in seen:
                seen.add(text)
                page.add(BlockKind.PARAGRAPH, f"{word}: {text}" if word else text)


def _flattened(text: str) -> str:
    """``text`` with the paragraph marks in field codes made spaces: a code must not be torn in two."""
    if "\x13" not in text:
        return text
    return re.sub("\x13[^\x14\x15\x13]*", lambda code: re.sub("[\r\x07\x0c]", " ", code[0]), text)


class DocParser(Locked):
    """Reads Word documents of the time before docx."""

    name = "doc"
    media_types = (formats.DOC,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``."""
        container = Container(path, _WHAT, self._password)
        try:
            if not container.has("WordDocument"):
                raise errors.DamagedDocument(f"This is no {_WHAT}: its main part is missing.")
            file = DocFile(container)
            body = _Body()
            text = _flattened(file.text("main"))
            for found in _PARAGRAPH.finditer(text):
                if found[0]:
                    mark = found[0][-1] if found[0][-1] in "\r\x07\x0c" else ""
                    body.add(shown(found[0]).rstrip("\r\x07\x0c"), mark, file.properties(found.end() - 1))
            body.end()
            _add_apart(file, body.page)
            yield Header(self.name, formats.DOC, container.title() or body.title, 1)
            yield body.page.build(1)
        finally:
            container.close()
