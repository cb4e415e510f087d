"""OpenDocument spreadsheets: a sheet is a page; rows become lines that carry the words of their header."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from datadistiller.model import BlockKind, Page
from datadistiller.parsing import Header, Item, formats, sheets
from datadistiller.parsing.office import odf
from datadistiller.parsing.packed.archive import Element, attribute, local
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.passwords import Locked


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
        self._shapes: list[str] = []
        self._comments: list[tuple[tuple[int, int], str]] = []

    def read(self, items: Iterator[tuple[int, str, Element]], number: int) -> Page:
        """The page of a sheet."""
        sheets.add_rows(self._rows(items), self.page)
        for text in self._shapes:
            self.page.add(BlockKind.PARAGRAPH, text)
        for place, text in self._comments:
            sheets.add_comment(place, text, self.page)
        return self.page.build(number, self._name)

    def _rows(self, items: Iterator[tuple[int, str, Element]]) -> Iterator[sheets.Row]:
        """The rows; one that is repeated is given once."""
        number = 1
        for _, kind, element in items:
            if kind == "table":
                self._name = " ".join((attribute(element, "name") or "").split())
            elif kind == "shapes":
                self._shapes.append(odf.cell_text(element))
            else:
                self._comments += (((number, column), text) for column, text in _comments(element))
                yield number, odf.cells(element)
                number += odf.repeats(element, "number-rows-repeated")


def _comments(row: Element) -> Iterator[tuple[int, str]]:
    """(column, comment) of a row."""
    column = 1
    for cell in row:
        if local(cell) in ("table-cell", "covered-table-cell"):
            for annotation in (e for e in cell.iter() if local(e) == "annotation"):
                yield column, odf.cell_text(annotation)
            column += odf.repeats(cell, "number-columns-repeated")


class OdsParser(Locked):
    """Reads OpenDocument spreadsheets (ods, templates, flat files): what the cells show, no formulas."""

    name = "ods"
    media_types = (formats.ODS,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per sheet, labelled with its name. Raises ``errors.EncryptedDocument``, ``DamagedDocument``,
        ``LimitExceeded``."""
        package = odf.Package(path, "OpenDocument spreadsheet", self._password)
        try:
            count = sum(1 for _, kind, _ in _walk(package) if kind == "table")
            yield Header(self.name, formats.ODS, package.title(), count)
            yield from package.unread()
            for number, items in groupby(_walk(package), key=lambda item: item[0]):
                if number >= first_page:
                    yield _Sheet().read(items, number)
        finally:
            package.close()
