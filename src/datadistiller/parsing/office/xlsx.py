"""Excel workbooks: a sheet is a page; rows become lines that carry the words of their header."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from datadistiller import cells, errors
from datadistiller.model import BlockKind, Page
from datadistiller.parsing import Header, Item, formats, sheets
from datadistiller.parsing.office import parts as office
from datadistiller.parsing.packed.archive import Archive, Element, attribute, local
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.passwords import Locked

_WHAT = "Excel workbook"
_MAX_COLUMNS = 16_384
#: Number formats that files refer to without defining them.
_BUILT_IN = {str(n): "date" for n in (*range(14, 23), *range(27, 37), 45, 46, 47, *range(50, 59))}
_BUILT_IN |= {"9": "percent", "10": "percent"}
_NO_DATE = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]|_.|\*.')  # literals, colours and fill in a number format
_CELL = re.compile(r"([A-Z]{1,3})\d*$")


class _Workbook:
    """What all sheets share: strings, which styles are dates, the day that is zero."""

    def __init__(self, archive: Archive, part: str) -> None:
        self.archive = archive
        relations = archive.relations(part)
        root = archive.xml(part)
        self.sheets: list[tuple[str, str]] = []
        self._zero = office.DAY_ZERO
        for element in root.iter() if root is not None else ():
            name = local(element)
            if name == "sheet":
                relation = next((v for k, v in element.items() if k.endswith("}id")), "")
                self.sheets.append((attribute(element, "name") or "", relations.get(relation, ("", ""))[1]))
            elif name == "workbookPr" and attribute(element, "date1904") in ("1", "true"):
                self._zero = office.DAY_ZERO_MAC
        self._strings = [text for name in archive.related(part, "sharedStrings") for text in _strings(archive, name)]
        self._shows = [shows for name in archive.related(part, "styles") for shows in _styles(archive.xml(name))]

    def value(self, cell: Element) -> str:
        """What a person sees in a cell, nearly."""
        kind = attribute(cell, "t") or "n"
        if kind == "inlineStr":
            return _rich_text(cell)
        raw = next((child.text for child in cell if local(child) == "v"), None) or ""
        if kind == "s":
            return self._strings[int(raw)] if raw.isdecimal() and int(raw) < len(self._strings) else ""
        if kind == "b":
            return "TRUE" if raw == "1" else "FALSE" if raw else ""
        return self._number(raw, attribute(cell, "s") or "") if kind == "n" else raw

    def _number(self, raw: str, style: str) -> str:
        try:
            value = float(raw)
        except ValueError:
            return raw
        if not math.isfinite(value):
            return raw
        shows = self._shows[int(style)] if style.isdecimal() and int(style) < len(self._shows) else ""
        if shows == "percent":
            return f"{100 * value:.12g}%"
        return (office.date(value, self._zero) if shows == "date" else "") or f"{value:.15g}"


def _rich_text(element: Element, depth: int = 0) -> str:
    """The text of a string item; phonetic hints are left out."""
    parts = []
    for child in element:
        name = local(child)
        if name == "t":
            parts.append(child.text or "")
        elif name in ("r", "is") and depth < 3:
            parts.append(_rich_text(child, depth + 1))
    return "".join(parts)


def _strings(archive: Archive, part: str) -> Iterator[str]:
    root: Element | None = None
    for event, element in archive.elements(part):
        if event == "start":
            root = element if root is None else root
        elif local(element) == "si":
            yield _rich_text(element)
            if root is not None:
                root.clear()


def _styles(styles: Element | None) -> list[str]:
    """For each cell style what it makes of a number: "date" (also a time), "percent", or nothing special."""
    custom: dict[str, str] = {}
    shown: list[str] = []
    for group in styles if styles is not None else ():
        for entry in group:
            number = attribute(entry, "numFmtId") or ""
            if local(group) == "numFmts":
                custom[number] = _shown(_NO_DATE.sub("", attribute(entry, "formatCode") or "").lower())
            elif local(group) == "cellXfs":
                shown.append(custom.get(number, _BUILT_IN.get(number, "")))
    return shown


def _shown(code: str) -> str:
    if "%" in code:
        return "percent"
    return "date" if any(c in code for c in "ymdhs") and "general" not in code else ""


def _column(reference: str) -> int | None:
    """The column of a cell reference, from 0."""
    found = _CELL.match(reference)
    return cells.number_of(found[1]) - 1 if found else None


def _rows(book: _Workbook, part: str) -> Iterator[sheets.Row]:
    """The rows of a sheet; a gap in their numbers is one empty row, however long it is."""
    last = 0
    data: Element | None = None
    for event, element in book.archive.elements(part):
        name = local(element)
        if event == "start":
            data = element if name == "sheetData" else data
        elif name == "row":
            number = int(attribute(element, "r") or 0) or last + 1
            if number > last + 1:
                yield last + 1, []
            last = number
            yield number, _cells(book, element)
            if data is not None:
                data.clear()


def _cells(book: _Workbook, row: Element) -> list[str]:
    texts: list[str] = []
    for cell in row:
        if local(cell) != "c":
            continue
        at = _column(attribute(cell, "r") or "")
        at = len(texts) if at is None else at
        text = book.value(cell).strip()
        if text and at < _MAX_COLUMNS:
            texts += [""] * (at + 1 - len(texts))
            texts[at] = text
    return texts


def _add_drawings(archive: Archive, part: str, page: PageBuilder) -> None:
    """Text boxes, charts and diagrams that lie on the sheet."""
    for target in archive.related(part, "drawing"):
        root = archive.xml(target)
        page.add(BlockKind.PARAGRAPH, "\n".join(office.drawing_paragraphs(root)) if root is not None else "")
        for text in office.related_texts(archive, target):
            page.add(BlockKind.LIST, text)


def _add_comments(archive: Archive, part: str, page: PageBuilder) -> None:
    for target in archive.related(part, "comments"):
        root = archive.xml(target)
        for comment in (e for e in root.iter() if local(e) == "comment") if root is not None else ():
            text = "".join(e.text or "" for e in comment.iter() if local(e) == "t")
            sheets.add_comment(cells.position(attribute(comment, "ref") or ""), text, page)


class XlsxParser(Locked):
    """Reads Excel workbooks (xlsx, xlsm): values as they were last calculated, no formulas."""

    name = "xlsx"
    media_types = (formats.XLSX,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per sheet, labelled with its name. Raises ``errors.EncryptedDocument``, ``DamagedDocument``,
        ``LimitExceeded``."""
        archive = Archive(path, _WHAT, self._password)
        try:
            book = _Workbook(archive, office.main_part(archive, "xl/workbook.xml", _WHAT))
            yield Header(self.name, formats.XLSX, office.title(archive), len(book.sheets))
            yield from archive.unread()
            for number, (name, part) in enumerate(book.sheets[first_page - 1 :], first_page):
                yield self._page(book, part, number, " ".join(name.split()))
        finally:
            archive.close()

    def _page(self, book: _Workbook, part: str, number: int, name: str) -> Page:
        page = PageBuilder()
        try:
            if not book.archive.has(part):
                raise errors.DamagedDocument(f"Sheet {number} is missing in the file.")
            sheets.add_rows(_rows(book, part), page)
            _add_drawings(book.archive, part, page)
            _add_comments(book.archive, part, page)
        except errors.DamagedDocument as error:
            return Page(number, "", label=name, problem=error.problem())
        return page.build(number, name)
