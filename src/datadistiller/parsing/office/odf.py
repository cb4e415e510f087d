"""What OpenDocument text, spreadsheets and presentations have in common: the file, paragraphs, lists, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from datadistiller import errors
from datadistiller.model import BlockKind, Problem
from datadistiller.parsing import headers, limits, passwords, tables
from datadistiller.parsing.office import odf_locked
from datadistiller.parsing.packed import archive
from datadistiller.parsing.packed.archive import Archive, Element, attribute, local
from datadistiller.parsing.pages import PageBuilder

#: Columns of a table that are read.
MAX_COLUMNS = 16_384

#: Contents that are not shown where they stand, or hold no text.
_UNSEEN_NAMES = (
    "tracked-changes forms ruby-text script event-listeners image object object-ole plugin note-citation"
    " sequence-decls variable-decls user-field-decls settings page-thumbnail"
)
_UNSEEN = frozenset(_UNSEEN_NAMES.split())
_APART = frozenset(("note", "annotation", "frame", "custom-shape", "rect", "g", "text-box", "ellipse", "line", "list"))
_SPACES = re.compile(r"[ \t\r\n]+")
#: A cell that is repeated and longer than this in all is given once: nobody repeats prose.
_MAX_REPEATED_CHARS = 100_000


class Package:
    """An OpenDocument file: a ZIP container, or all of it in one XML file ("flat").

    Raises ``errors.EncryptedDocument``, ``DamagedDocument``.
    """

    def __init__(self, path: Path, what: str, password: str | None = None) -> None:
        self._path = path
        self._what = what
        self._archive = None if _is_flat(path) else _opened(path, what, password)
        self._titles: set[str] = set()  # styles of paragraphs that are the title
        if self._archive is not None and not self._archive.has("content.xml"):
            raise errors.DamagedDocument(f"This is no {what}: its main part is missing.")

    def close(self) -> None:
        """Closes the file."""
        if self._archive is not None:
            self._archive.close()

    def unread(self) -> Iterator[Problem]:
        """Says what nobody reads; nothing is known of a file that is one piece of XML."""
        return self._archive.unread() if self._archive is not None else iter(())

    def events(self) -> Iterator[tuple[str, Element]]:
        """("start" or "end", element) of the contents, in order; the caller clears what it has used."""
        if self._archive is not None:
            return self._archive.elements("content.xml")
        return archive.xml_elements(lambda: self._path.open("rb"), self._what)

    def children(self, container: str) -> Iterator[Element]:
        """What is directly in the elements of that name, one by one, freed after use."""
        path: list[Element] = []
        for event, element in self.events():
            if event == "start":
                path.append(element)
                continue
            path.pop()
            if local(element) == "automatic-styles":
                self._read_styles(element)
            if path and local(path[-1]) == container:
                yield element
                path[-1].clear()

    def is_title(self, style: str) -> bool:
        """True for paragraphs that are the title of the document; known once the body is read."""
        return style == "Title" or style in self._titles

    def title(self) -> str:
        """The title in the document's properties, empty if there is none."""
        root = self._archive.xml("meta.xml") if self._archive is not None else self._until_body("meta")
        found = next((e.text for e in root.iter() if local(e) == "title" and e.text), "") if root is not None else ""
        return " ".join((found or "").split())[:300]

    def furniture(self) -> list[str]:
        """The texts of headers and footers, each different one once."""
        root = self._archive.xml("styles.xml") if self._archive is not None else self._until_body("master-styles")
        found: dict[str, None] = {}
        for element in root.iter() if root is not None else ():
            if local(element) in ("header", "footer", "header-first", "footer-first", "header-left", "footer-left"):
                text = cell_text(element).strip()
                if any(c.isalpha() for c in text):
                    found[text] = None
        return list(found)

    def _read_styles(self, styles: Element) -> None:
        for style in styles:
            if attribute(style, "parent-style-name") == "Title":
                self._titles.add(attribute(style, "name") or "")

    def _until_body(self, name: str) -> Element | None:
        """The element of that name in front of the body of a flat file."""
        for event, element in self.events():
            if event == "end" and local(element) == name:
                return element
            if event == "start" and local(element) == "body":
                return None
        return None


def _is_flat(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _opened(path: Path, what: str, password: str | None) -> Archive:
    container = Archive(path, what)
    locked = odf_locked.locked_parts(container)
    sealed = container.has("encrypted-package")  # the whole of it, as the newest programs do
    if not locked and not sealed:
        return container
    try:
        if password is None:
            raise passwords.locked(what)
        if sealed:
            raise passwords.unknown(what)
        return Archive(odf_locked.unlocked(container, locked, what, password), what)
    finally:
        container.close()


class Body:
    """Turns OpenDocument elements into blocks."""

    def __init__(self, package: Package) -> None:
        self.page = PageBuilder()
        self.title = ""
        self._package = package
        self._items: list[str] = []
        self._notes: list[str] = []

    def add(self, element: Element, depth: int = 0) -> None:
        """Adds an element, whatever it is."""
        name = local(element)
        if name in ("h", "p"):
            self._paragraph(element, depth)
        elif name == "list":
            self._list(element, 0, depth)  # not ended: programs write a list per item
        elif name == "table":
            self.end_list()
            self._table(element)
        elif name in ("note", "annotation"):
            self._notes.append(_note(element))
        elif not _unseen(element) and depth < limits.MAX_DEPTH:
            for child in element:
                self.add(child, depth + 1)

    def end_list(self) -> None:
        """Ends the list that is open, if any."""
        self.page.add(BlockKind.LIST, "\n".join(self._items))
        self._items = []

    def end(self) -> None:
        """Adds the notes that were met, at the end as they have no place in the text."""
        self.end_list()
        for note in self._notes:
            self.page.add(BlockKind.PARAGRAPH, note)
        self._notes = []

    def heading(self, text: str, level: int) -> None:
        """Adds a heading; the first one is the title if nothing else is."""
        text = " ".join(text.split())
        self.end_list()
        self.title = self.title or text[:300]
        self.page.add(BlockKind.HEADING, text, level)

    def _paragraph(self, paragraph: Element, depth: int, indent: int | None = None) -> None:
        apart: list[Element] = []
        text = paragraph_text(paragraph, apart)
        level = _level(attribute(paragraph, "outline-level")) if local(paragraph) == "h" else 0
        if not level and self._package.is_title(attribute(paragraph, "style-name") or ""):
            level = 1
        if not text.strip():
            pass
        elif level:
            self.heading(text, level)
        elif indent is not None:
            self._items.append("  " * indent + "- " + " ".join(text.split()))
        else:
            self.end_list()
            self.page.add(BlockKind.PARAGRAPH, text)
        for element in apart if depth < limits.MAX_DEPTH else ():
            self.add(element, depth + 10)

    def _list(self, element: Element, indent: int, depth: int) -> None:
        if depth > limits.MAX_DEPTH:
            return
        for child in element:
            name = local(child)
            if name in ("h", "p"):
                self._paragraph(child, depth + 1, indent)
            elif name == "list":
                self._list(child, min(indent + 1, 8), depth + 1)
            elif name in ("list-item", "list-header"):
                self._list(child, indent, depth + 1)
            else:
                self.add(child, depth + 1)

    def _table(self, table: Element) -> None:
        elements = list(_rows(table))
        rows = [cells(row) for row in elements]
        self._notes += (_note(e) for e in table.iter() if local(e) in ("note", "annotation"))
        kept = [at for at, row in enumerate(rows) if any(row)]
        if max((len(rows[at]) for at in kept), default=0) < 2:
            for at in kept:
                self.page.add(BlockKind.PARAGRAPH, "\n".join(rows[at]))
            return
        heights = {(at, c): n for at in kept for c, n in _spans(elements[at], "rows") if c < len(rows[at])}
        headers.spread(rows, heights)
        widths = {(n, c): width for n, at in enumerate(kept) for c, width in _spans(elements[at], "columns")}
        named = {id(row) for group in table if local(group) == "table-header-rows" for row in group}
        told = sum(id(elements[at]) in named for at in kept)
        filled = [headers.flat(rows[at]) for at in kept]
        header = headers.find(filled, widths, told if told < len(filled) else 0)
        self.page.add(BlockKind.TABLE, "\n".join(tables.lines(filled, header)))


def _unseen(element: Element) -> bool:
    """True for what is not shown. The title of a drawing describes it; the field of that name stands in the text."""
    name = local(element)
    return name in _UNSEEN or (name in ("title", "desc") and "svg" in element.tag)


def _level(outline: str | None) -> int:
    return max(1, min(int(outline), 6)) if outline and outline.isdecimal() and len(outline) < 4 else 1


def _rows(element: Element, depth: int = 0) -> Iterator[Element]:
    """Rows of a table, those in header and group elements too."""
    for child in element:
        name = local(child)
        if name == "table-row":
            yield child
        elif name in ("table-header-rows", "table-rows", "table-row-group") and depth < limits.MAX_DEPTH:
            yield from _rows(child, depth + 1)


def cells(row: Element) -> list[str]:
    """The texts of a row's cells, without the empty ones at its end."""
    found: list[str] = []
    gap = 0
    for cell in row:
        if local(cell) not in ("table-cell", "covered-table-cell"):
            continue
        repeated = repeats(cell, "number-columns-repeated")
        text = (cell_text(cell).strip() or _value(cell)) if local(cell) == "table-cell" else ""
        if not text:
            gap += repeated
            continue
        if len(text) * repeated > _MAX_REPEATED_CHARS:
            repeated = 1
        if len(found) + gap + repeated > MAX_COLUMNS:
            break
        found += [""] * gap + [text] * repeated
        gap = 0
    return found


def _spans(row: Element, what: str) -> Iterator[tuple[int, int]]:
    """(column, how many columns or rows it reaches over) of each cell of a row that reaches over several."""
    column = 0
    for cell in row:
        if local(cell) in ("table-cell", "covered-table-cell"):
            reach = min(repeats(cell, f"number-{what}-spanned"), MAX_COLUMNS)
            if reach > 1:
                yield column, reach
            column += repeats(cell, "number-columns-repeated")


def repeats(element: Element, name: str) -> int:
    """How often an element counts."""
    value = attribute(element, name) or ""
    return min(int(value), 1 << 20) if value.isdecimal() and 0 < len(value) < 10 else 1


def _value(cell: Element) -> str:
    """What a cell holds, where no program wrote what it shows."""
    names = ("string-value", "date-value", "time-value", "boolean-value", "value")
    return next((value for name in names if (value := attribute(cell, name))), "")


def cell_text(element: Element) -> str:
    """All text in a cell or a box, a paragraph per line; comments are left out."""
    return "\n".join(filter(None, (paragraph_text(p, []).strip() for p in _paragraphs(element, 0))))


def _paragraphs(element: Element, depth: int) -> Iterator[Element]:
    for child in element:
        name = local(child)
        if name in ("p", "h"):
            yield child
        if not _unseen(child) and name not in ("annotation", "note") and depth < limits.MAX_DEPTH:
            yield from _paragraphs(child, depth + 1)


def _note(note: Element) -> str:
    """A footnote, an endnote or a comment as a paragraph."""
    if local(note) == "annotation":
        text = cell_text(note)
        return f"Comment: {text}" if text else ""
    word = "Endnote" if attribute(note, "note-class") == "endnote" else "Footnote"
    number = next(("".join(e.itertext()) for e in note if local(e) == "note-citation"), "")
    text = cell_text(note)
    return f"{word} {' '.join(number.split())}: {text}" if text else ""


def paragraph_text(paragraph: Element, apart: list[Element]) -> str:
    """The text of a paragraph; notes, comments and boxes in it are put into ``apart``."""
    parts: list[str] = []
    _collect(paragraph, parts, apart, 0)
    return "".join(parts).strip()


def _collect(element: Element, parts: list[str], apart: list[Element], depth: int) -> None:
    parts.append(_SPACES.sub(" ", element.text or ""))
    for child in element:
        name = local(child)
        if name == "s":
            count = attribute(child, "c") or "1"
            parts.append(" " * (min(int(count), 100) if count.isdecimal() and len(count) < 10 else 1))
        elif name == "tab":
            parts.append("\t")
        elif name == "line-break":
            parts.append("\n")
        elif name in _APART:
            apart.append(child)
        elif not _unseen(child) and depth < limits.MAX_DEPTH:
            _collect(child, parts, apart, depth + 1)
        parts.append(_SPACES.sub(" ", child.tail or ""))
