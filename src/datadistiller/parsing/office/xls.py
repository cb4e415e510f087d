"""Excel 97-2003 workbooks (and Excel 5 and 95): a sheet is a page, as in xlsx. Read by ``xlrd``."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xlrd
import xlrd.biffh
import xlrd.compdoc

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, formats, passwords, sheets
from datadistiller.parsing.office import ole
from datadistiller.parsing.office import parts as office
from datadistiller.parsing.pages import PageBuilder

_WHAT = "Excel workbook"


@contextmanager
def _reading() -> Iterator[None]:
    """``xlrd`` has errors of its own for what it checks; the rest of a damaged file ends in the language's."""
    try:
        yield
    except (xlrd.XLRDError, xlrd.compdoc.CompDocError) as error:
        if "encrypted" in str(error).lower():
            raise passwords.locked(_WHAT) from error
        raise errors.DamagedDocument(f"The {_WHAT} is damaged or cut off.") from error
    except (ValueError, LookupError, TypeError, AssertionError, AttributeError, OverflowError, struct.error) as error:
        raise errors.DamagedDocument(f"The {_WHAT} is damaged or cut off.") from error


class _Workbook:
    """An open workbook."""

    def __init__(self, path: Path, password: str | None) -> None:
        container = ole.Container(path, _WHAT, password)
        try:
            self.title = container.title()
            data = container.read("Workbook") or container.read("Book")
        finally:
            container.close()
        if not data:
            raise errors.DamagedDocument(f"This is no {_WHAT}: its main part is missing.")
        with _reading():
            self._book = xlrd.open_workbook(
                file_contents=data, formatting_info=True, on_demand=True, ragged_rows=True, logfile=sys.stderr
            )
        self.names = [" ".join(name.split()) for name in self._book.sheet_names()]

    def page(self, number: int) -> Page:
        """A sheet, from 1."""
        name = self.names[number - 1]
        page = PageBuilder()
        try:
            with _reading():
                sheet = self._book.sheet_by_index(number - 1)
                sheets.add_rows(((row + 1, self._row(sheet, row)) for row in range(sheet.nrows)), page)
                for (row, column), note in sorted(sheet.cell_note_map.items()):
                    sheets.add_comment((row + 1, column + 1), note.text, page)
                self._book.unload_sheet(number - 1)
        except errors.DamagedDocument as error:
            return Page(number, "", label=name, problem=error.problem())
        return page.build(number, name)

    def _row(self, sheet: xlrd.sheet.Sheet, row: int) -> list[str]:
        cells = [self._value(cell).strip() for cell in sheet.row(row)]
        while cells and not cells[-1]:
            cells.pop()
        return cells

    def _value(self, cell: xlrd.sheet.Cell) -> str:
        """What a person sees in a cell, nearly."""
        match cell.ctype:
            case xlrd.XL_CELL_TEXT:
                return str(cell.value)
            case xlrd.XL_CELL_NUMBER:
                return self._number(cell)
            case xlrd.XL_CELL_DATE:
                zero = office.DAY_ZERO_MAC if self._book.datemode else office.DAY_ZERO
                return office.date(cell.value, zero) or f"{cell.value:.15g}"
            case xlrd.XL_CELL_BOOLEAN:
                return "TRUE" if cell.value else "FALSE"
            case xlrd.XL_CELL_ERROR:
                return str(xlrd.biffh.error_text_from_code.get(cell.value, ""))
        return ""

    def _number(self, cell: xlrd.sheet.Cell) -> str:
        key = self._book.xf_list[cell.xf_index].format_key if cell.xf_index is not None else None
        shown = self._book.format_map.get(key)
        if shown is not None and "%" in shown.format_str:
            return f"{100 * cell.value:.12g}%"
        return f"{cell.value:.15g}"


def _opened(path: Path, password: str | None) -> _Workbook:
    """The workbook; one that only forbids changes opens by itself."""
    try:
        return _Workbook(path, password)
    except errors.EncryptedDocument as error:
        if password is not None:
            raise
        try:
            return _Workbook(path, passwords.OFFICE_DEFAULT)
        except errors.EncryptedDocument:
            raise error from None


class XlsParser(passwords.Locked):
    """Reads Excel workbooks of the time before xlsx: values as they were last calculated, no formulas."""

    name = "xls"
    media_types = (formats.XLS,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per sheet, labelled with its name. Raises ``errors.EncryptedDocument``, ``DamagedDocument``,
        ``LimitExceeded``."""
        book = _opened(path, self._password)
        yield Header(self.name, formats.XLS, book.title, len(book.names))
        for number in range(first_page, len(book.names) + 1):
            yield book.page(number)
