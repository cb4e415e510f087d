"""OpenDocument spreadsheets: a sheet is a page; rows become lines that carry the words of their header."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from datadistiller.model import BlockKind, Page
from datadistiller.parsing import Header, Item, formats, odf, tables
from datadistiller.parsing.archive import Element, attribute, local
from datadistiller.parsing.pages import PageBuilder


def _walk(package: odf.Package) -> Iterator[tuple[int, str, Element]]:
    """(sheet, "table", its element as it begins), then ("table-row" or "shapes", element) in it, freed after use."""
    path: list[Element] = []
    sheet = 0
    for event, element in package.events():
        name = local(element)
        if event == "start":
            if name == "table" and path and local(path[-1]) == "spreadsheet":
                sheet += 1
                yield sheet, name, element
            path.append(element)
            continue
        path.pop()
        if sheet and name in ("table-row", "shapes"):
            yield sheet, name, element
            path[-1].clear()


class _Sheet:
    """One sheet being read."""

    def __init__(self) -> None:
        self.page = PageBuilder()
        self._name = ""
        self._apart: list[str] = []

    def read(self, items: Iterator[tuple[int, str, Element]], number: int) -> Page:
        """The page of a sheet."""
        tables.add_rows(self._rows(items), self.page)
        for text in self._apart:
            self.page.add(BlockKind.PARAGRAPH, text)
        return self.page.build(number, self._name)

    def _rows(self, items: Iterator[tuple[int, str, Element]]) -> Iterator[list[str]]:
        """The rows; one that is repeated is given once."""
        for _, kind, element in items:
            if kind == "table":
                self._name = " ".join((attribute(element, "name") or "").split())
            elif kind == "shapes":
                self._apart.append(odf.cell_text(element))
            else:
                self._apart += (_comment(e) for e in element.iter() if local(e) == "annotation")
                yield odf.cells(element)


def _comment(annotation: Element) -> str:
    text = odf.cell_text(annotation)
    return f"Comment: {text}" if text else ""


class OdsParser:
    """Reads OpenDocument spreadsheets (ods, templates, flat files): what the cells show, no formulas."""

    name = "ods"
    media_types = (formats.ODS,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per sheet, labelled with its name. Raises ``errors.EncryptedDocument``, ``DamagedDocument``,
        ``LimitExceeded``."""
        package = odf.Package(path, "OpenDocument spreadsheet")
        try:
            count = sum(1 for _, kind, _ in _walk(package) if kind == "table")
            yield Header(self.name, formats.ODS, package.title(), count)
            yield from package.unread()
            for number, items in groupby(_walk(package), key=lambda item: item[0]):
                if number >= first_page:
                    yield _Sheet().read(items, number)
        finally:
            package.close()
