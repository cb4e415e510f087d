"""Word documents: paragraphs, headings by style, lists, tables, notes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise, takewhile
from pathlib import Path

from datadistiller.model import BlockKind
from datadistiller.parsing import Header, Item, formats, headers, limits, tables
from datadistiller.parsing.office import parts as office
from datadistiller.parsing.packed.archive import Archive, Element, attribute, local
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.passwords import Locked

_WHAT = "Word document"
#: Contents that are not shown, or shown twice: deleted text, field codes, the older form of a drawing.
_UNSEEN = frozenset(("del", "moveFrom", "instrText", "delText", "Fallback", "delInstrText", "rPr", "pPr", "sdtPr"))
_BREAKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": "\t"}
_HEADING_NAME = re.compile(r"heading\s*([1-9])$", re.I)
#: Columns that one cell reaches over, and the longest text that is said again in rows below it.
_MOST_SPANNED, _MAX_SPREAD_CHARS = 63, 80
_NOTES = (("footnotes", "Footnote"), ("endnotes", "Endnote"), ("comments", "Comment"))


class _Styles:
    """Style id -> outline level (1-6, 0: none) and whether it makes list items; styles inherit."""

    def __init__(self, root: Element | None) -> None:
        self._levels: dict[str, int | None] = {}
        self._lists: dict[str, bool] = {}
        self._parents: dict[str, str] = {}
        for style in root if root is not None else ():
            if local(style) == "style":
                self._read(attribute(style, "styleId") or "", style)

    def _read(self, style_id: str, style: Element) -> None:
        level = None
        for element in style.iter():
            name, value = local(element), attribute(element, "val") or ""
            if name == "name":
                found = _HEADING_NAME.match(value)
                level = int(found[1]) if found else 1 if value.lower() == "title" else level
            elif name == "basedOn":
                self._parents[style_id] = value
            elif name == "outlineLvl" and level is None and value.isdecimal():
                level = int(value) + 1 if int(value) < 9 else 0
            elif name == "numPr":
                self._lists[style_id] = True
        self._levels[style_id] = level

    def level(self, style_id: str) -> int:
        """The heading level of a style, 0 if it is none."""
        for _ in range(20):
            level = self._levels.get(style_id)
            if level is not None:
                return min(level, 6)
            style_id = self._parents.get(style_id, "")
        return 0

    def lists(self, style_id: str) -> bool:
        """True if paragraphs of a style are list items."""
        for _ in range(20):
            if self._lists.get(style_id):
                return True
            style_id = self._parents.get(style_id, "")
        return False


class _Body:
    """Turns the elements of a document's body into blocks."""

    def __init__(self, styles: _Styles) -> None:
        self.page = PageBuilder()
        self.title = ""
        self._styles = styles
        self._items: list[str] = []

    def add(self, element: Element, depth: int = 0) -> None:
        """Adds a child of the body, whatever it is."""
        name = local(element)
        if name == "p":
            self._paragraph(element, depth)
        elif name == "tbl":
            self.end_list()
            self._table(element)
        elif name not in _UNSEEN and depth < limits.MAX_DEPTH:
            for child in element:
                self.add(child, depth + 1)

    def end_list(self) -> None:
        """Ends the list that is open, if any."""
        self.page.add(BlockKind.LIST, "\n".join(self._items))
        self._items = []

    def _paragraph(self, paragraph: Element, depth: int) -> None:
        style, numbered, indent, level = self._properties(paragraph)
        boxes: list[Element] = []
        text = _text(paragraph, boxes)
        level = level if level is not None else self._styles.level(style)
        if not text.strip():
            pass
        elif level:
            self.end_list()
            text = " ".join(text.split())
            self.title = self.title or text[:300]
            self.page.add(BlockKind.HEADING, text, level)
        elif numbered or (numbered is None and self._styles.lists(style)):
            self._items.append("  " * indent + "- " + " ".join(text.split()))
        else:
            self.end_list()
            self.page.add(BlockKind.PARAGRAPH, text)
        for box in boxes if depth < limits.MAX_DEPTH else ():
            for child in box:
                self.add(child, depth + 10)

    def _properties(self, paragraph: Element) -> tuple[str, bool | None, int, int | None]:
        """Style id, list item (None: as the style says), depth of the list, heading level (None: as the style)."""
        properties = next((child for child in paragraph if local(child) == "pPr"), None)
        style, numbered, indent, level = "", None, 0, None
        for element in properties.iter() if properties is not None else ():
            name, value = local(element), attribute(element, "val") or ""
            if name == "pStyle":
                style = value
            elif name == "numId":
                numbered = value != "0"
            elif name == "ilvl" and value.isdecimal():
                indent = min(int(value), 8)
            elif name == "outlineLvl" and value.isdecimal():
                level = min(int(value) + 1, 6) if int(value) < 9 else 0
        return style, numbered, indent, level

    def _table(self, table: Element) -> None:
        rows = [_Row(row) for row in _children(table, "tr")]
        filled = [row for row in rows if any(row.texts)]
        if max((row.cells for row in filled), default=0) < 2:
            for row in filled:
                self.page.add(BlockKind.PARAGRAPH, "\n".join(filter(None, row.texts)))
            return
        for above, row in pairwise(filled):
            row.go_on(above)
        widths = {(at, column): width for at, row in enumerate(filled) for column, width in row.widths.items()}
        told = sum(1 for _ in takewhile(lambda row: row.is_header, filled))
        texts = [row.texts for row in filled]
        header = headers.find(texts, widths, told if told < len(texts) else 0)
        self.page.add(BlockKind.TABLE, "\n".join(tables.lines(texts, header)))


class _Row:
    """A row of a table, its cells in the columns of the table."""

    def __init__(self, row: Element) -> None:
        self.texts: list[str] = []
        self.widths: dict[int, int] = {}  # by column, of cells that reach over several
        self.cells = 0
        self.is_header = _property(row, "trPr", "tblHeader") not in (None, "0", "false")
        self._continued: list[int] = []  # columns of cells that go on a cell above
        self.texts += [""] * _number(_property(row, "trPr", "gridBefore"))
        for cell in _children(row, "tc"):
            width = max(1, _number(_property(cell, "tcPr", "gridSpan")))
            if width > 1:
                self.widths[len(self.texts)] = width
            if _property(cell, "tcPr", "vMerge") in ("", "continue"):
                self._continued.append(len(self.texts))
            self.texts += [_cell(cell), *[""] * (width - 1)]
            self.cells += 1

    def go_on(self, above: _Row) -> None:
        """Says again what cells of the row above say that reach into this one, if it is short."""
        for column in self._continued:
            if not self.texts[column] and column < len(above.texts) and len(above.texts[column]) <= _MAX_SPREAD_CHARS:
                self.texts[column] = above.texts[column]


def _property(element: Element, group: str, name: str) -> str | None:
    """The value of a property of a row or a cell: empty if it has none, None if it is not set."""
    for child in element:
        if local(child) == group:
            found = next((entry for entry in child if local(entry) == name), None)
            return None if found is None else attribute(found, "val") or ""
    return None


def _number(said: str | None) -> int:
    """A number of columns, as far as anybody has so many."""
    return min(int(said), _MOST_SPANNED) if said and said.isdecimal() and len(said) < 6 else 0


def _children(element: Element, name: str) -> Iterator[Element]:
    """Children of that name, also those inside content controls and the like."""
    for child in element:
        found = local(child)
        if found == name:
            yield child
        elif found in ("sdt", "sdtContent", "customXml", "ins", "moveTo"):
            yield from _children(child, name)


def _cell(cell: Element) -> str:
    """All text of a table cell, nested tables included, a paragraph per line."""
    return "\n".join(filter(None, (_text(p, []).strip() for p in _paragraphs(cell, 0))))


def _paragraphs(element: Element, depth: int) -> Iterator[Element]:
    """All paragraphs in ``element``, those in text boxes and nested tables too."""
    for child in element:
        name = local(child)
        if name == "p":
            yield child
        if name not in _UNSEEN and depth < limits.MAX_DEPTH:
            yield from _paragraphs(child, depth + 1)


def _text(element: Element, boxes: list[Element]) -> str:
    """The visible text of a paragraph; text boxes in it are put into ``boxes``."""
    parts: list[str] = []
    stack = [iter(element)]
    while stack:
        child = next(stack[-1], None)
        if child is None:
            stack.pop()
            continue
        name = local(child)
        if name == "t":
            parts.append(child.text or "")
        elif name in _BREAKS:
            parts.append(_BREAKS[name])
        elif name == "sym":
            parts.append(_symbol(attribute(child, "char") or ""))
        elif name == "txbxContent":
            boxes.append(child)
        elif name not in _UNSEEN:
            stack.append(iter(child))
    return "".join(parts)


def _symbol(code: str) -> str:
    """A character of a symbol font: the private ones are bullets and ticks without meaning as text."""
    value = int(code, 16) if re.fullmatch("[0-9A-Fa-f]{4}", code) else 0
    return chr(value) if value and not 0xD800 <= value <= 0xF8FF else ""


def _body_elements(archive: Archive, part: str) -> Iterator[Element]:
    """The children of the body one by one, freed after use, so that memory does not grow with the document."""
    path: list[Element] = []
    for event, element in archive.elements(part):
        if event == "start":
            path.append(element)
            continue
        path.pop()
        if path and local(path[-1]) == "body":
            yield element
            path[-1].clear()


def _add_notes(archive: Archive, part: str, page: PageBuilder) -> None:
    """Footnotes, endnotes and comments stand at the end; so do headers and footers, each different one once."""
    for kind, word in _NOTES:
        for target in archive.related(part, kind):
            root = archive.xml(target)
            for note in root if root is not None else ():
                text = _cell(note)
                if text and attribute(note, "type") not in ("separator", "continuationSeparator"):
                    page.add(BlockKind.PARAGRAPH, f"{word} {attribute(note, 'id') or ''}: {text}")
    seen: set[str] = set()
    for kind in ("header", "footer"):
        for target in archive.related(part, kind):
            root = archive.xml(target)
            text = _cell(root) if root is not None else ""
            if any(c.isalpha() for c in text) and text not in seen:
                seen.add(text)
                page.add(BlockKind.PARAGRAPH, text)


class DocxParser(Locked):
    """Reads Word documents (docx, docm, templates). They have no pages until they are laid out."""

    name = "docx"
    media_types = (formats.DOCX,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``."""
        archive = Archive(path, _WHAT, self._password)
        try:
            part = office.main_part(archive, "word/document.xml", _WHAT)
            styles = next(iter(archive.related(part, "styles")), "word/styles.xml")
            body = _Body(_Styles(archive.xml(styles)))
            for element in _body_elements(archive, part):
                body.add(element)
            body.end_list()
            for text in office.related_texts(archive, part):
                body.page.add(BlockKind.LIST, text)
            _add_notes(archive, part, body.page)
            yield Header(self.name, formats.DOCX, office.title(archive) or body.title, 1)
            yield from archive.unread()
            yield body.page.build(1)
        finally:
            archive.close()
