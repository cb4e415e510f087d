"""Binary Excel workbooks (xlsb): a sheet is a page, as in xlsx. Read by ``calamine``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from python_calamine import CalamineError, CalamineWorkbook

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, formats, sheets
from datadistiller.parsing.office import parts as office
from datadistiller.parsing.packed.archive import Archive, decrypted
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.passwords import Locked

_WHAT = "Excel workbook"


@contextmanager
def _reading() -> Iterator[None]:
    """The library ends in a panic, which is no ``Exception``, where it did not foresee a damage."""
    try:
        yield
    except (CalamineError, OSError, ValueError) as error:
        raise errors.DamagedDocument(f"The {_WHAT} is damaged or cut off.") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise errors.DamagedDocument(f"The {_WHAT} is damaged in a way that was not foreseen.") from None


class XlsbParser(Locked):
    """Reads binary workbooks: values as they were last calculated, no formulas."""

    name = "calamine"
    media_types = (formats.XLSB,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per sheet, labelled with its name. Raises ``errors.EncryptedDocument``, ``DamagedDocument``,
        ``LimitExceeded``."""
        file = decrypted(path, _WHAT, self._password)
        archive = Archive(file, _WHAT)
        try:
            archive.check()
            title = office.title(archive)
            warnings = list(archive.unread())
        finally:
            archive.close()
        if not isinstance(file, Path):
            file.seek(0)
        with _reading():
            book = CalamineWorkbook.from_object(file)
            names = list(book.sheet_names)
        yield Header(self.name, formats.XLSB, title, len(names))
        yield from warnings
        for number in range(first_page, len(names) + 1):
            yield _page(book, names[number - 1], number)


def _page(book: CalamineWorkbook, name: str, number: int) -> Page:
    page, label = PageBuilder(), " ".join(name.split())
    try:
        with _reading():
            rows = book.get_sheet_by_name(name).iter_rows()
            sheets.add_rows(enumerate(map(_row, rows), 1), page)
    except errors.DamagedDocument as error:
        return Page(number, "", label=label, problem=error.problem())
    return page.build(number, label)


def _row(row: Sequence[object]) -> list[str]:
    cells = [_value(cell).strip() for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _value(value: object) -> str:
    """What a person sees in a cell, nearly."""
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case float() | int():
            return f"{value:.15g}"
        case dt.datetime():
            return value.strftime("%Y-%m-%d" if value.time() == dt.time.min else "%Y-%m-%d %H:%M:%S")
        case dt.time():
            return value.strftime("%H:%M:%S")
    return str(value)
