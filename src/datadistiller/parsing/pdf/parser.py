"""PDF by pdfium: the text layer page by page, with the place of every line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import pypdfium2

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, Known, Learned, Part, formats, pages, passwords
from datadistiller.parsing.limits import PART_PAGES
from datadistiller.parsing.pdf import files as pdf_files
from datadistiller.parsing.pdf import lines as pdf_lines
from datadistiller.parsing.pdf import notes as pdf_notes
from datadistiller.parsing.pdf import outline as pdf_outline
from datadistiller.parsing.pdf import rules as pdf_rules
from datadistiller.parsing.pdf import words as pdf_words
from datadistiller.parsing.pdf.blocks import Layout
from datadistiller.parsing.pdf.margins import Margins
from datadistiller.parsing.pdf.opening import mended_warning, open_pdf
from datadistiller.parsing.pdf.page import Sheet, compose
from datadistiller.parsing.pdf.scan import Scans, doubtful

_NO_TITLE = re.compile(
    r"(untitled.*|microsoft (word|powerpoint|excel).*|.*\.(docx?|pdf|indd|xlsx?|pptx?|tex|rtf|qxd|p65)|[\d\s._-]*)$",
    re.I,
)


def _title(document: Any) -> str:
    title = " ".join(pages.clean(document.get_metadata_value("Title")).split())
    return "" if _NO_TITLE.match(title) else title[:300]


class PdfParser(passwords.Locked):
    """Reads the text layer of PDF files; pages that are pictures are recognised."""

    name = "pdfium"
    media_types = (formats.PDF,)

    def __init__(self, password: str | None = None, known: Known | None = None) -> None:
        super().__init__(password)
        self._known = known

    def unlocked_by(self, password: str) -> Self:
        """The same for one file that this password may open."""
        return type(self)(password, self._known)

    def knowing(self, known: Known) -> PdfParser:
        """The same for the pages behind those that gave ``known``."""
        return PdfParser(self._password, known)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """The embedded files, then one page at a time. Raises ``errors.EncryptedDocument``, ``DamagedDocument``."""
        document, mended = open_pdf(path, self._password)
        try:
            reader = _Pages(document, self._known)
            yield Header(self.name, formats.PDF, _title(document), reader.count)
            if mended:
                yield mended_warning()
            if first_page == 1:
                yield from pdf_files.embedded(document)
            for number in range(first_page, reader.count + 1):
                page = reader.read(number)
                if number % PART_PAGES == 0 and number < reader.count:
                    yield Learned(number, reader.known())
                yield page
            yield from reader.scans.warnings()
        finally:
            document.close()

    @contextmanager
    def part(self, path: Path, first_page: int, last_page: int) -> Iterator[Part]:
        """Pages in the middle of a document. Raises what ``parse`` raises."""
        document, _ = open_pdf(path, self._password)
        try:
            yield _Part(document, first_page, last_page)
        finally:
            document.close()


class _Looked(NamedTuple):
    """A page before it is put together with what is known of others."""

    number: int
    label: str
    sheet: Sheet


class _Pages:
    """Reads the pages of a document one by one, in order; remembers of them what helps with the next."""

    def __init__(self, document: Any, known: Known | None = None) -> None:
        self._document = document
        self._form = _form(document)
        self.count = len(document)
        if not self.count:
            raise errors.DamagedDocument("The PDF has no pages.")
        self._titles = pdf_outline.titles(document)
        self.learn(known)

    def learn(self, known: Known | None) -> None:
        """From now on what is known of the pages before is this."""
        self._layout = Layout(known)
        self._margins = Margins(known)
        self.scans = Scans(known)

    def known(self) -> Known:
        """What is known of the pages that were read."""
        return {**self._layout.known(), **self._margins.known(), **self.scans.known()}

    def read(self, number: int) -> Page:
        """A page; one that cannot be read has a ``problem``."""
        return self.finish(self.look(number))

    def look(self, number: int) -> _Looked | Page:
        """What stands on a page, whatever stands on others; a page with a ``problem`` if that cannot be read."""
        try:
            page = self._document[number - 1]
        except pypdfium2.PdfiumError:
            return Page(number, "", problem=errors.DamagedDocument(f"Page {number} of the PDF is damaged.").problem())
        try:
            label = pages.clean(self._document.get_page_label(number - 1))
            return _Looked(number, label, self._sheet(page))
        except pypdfium2.PdfiumError:
            return _unreadable(number)
        finally:
            page.close()

    def finish(self, looked: _Looked | Page) -> Page:
        """The page, after all that are before it."""
        if isinstance(looked, Page):
            return looked
        number, label, sheet = looked
        own = self._margins.without(sheet.pieces, sheet.frame, number, label.casefold())
        writer = compose(sheet._replace(pieces=own), self._titles.get(number, {}), self._layout)
        page = writer.build(number, "" if label == str(number) else label)
        return self._recognised(page) if doubtful(page.text) else page

    def _recognised(self, page: Page) -> Page:
        try:
            handle = self._document[page.number - 1]
            try:
                return self.scans.instead(handle, page)
            finally:
                handle.close()
        except pypdfium2.PdfiumError:
            return _unreadable(page.number)

    def _sheet(self, page: Any) -> Sheet:
        frame = pdf_words.frame_of(page)
        textpage = page.get_textpage()
        try:
            pieces = pdf_lines.pieces(textpage, frame)
        finally:
            textpage.close()
        notes = list(pdf_notes.read(page, self._form, frame))
        return Sheet(frame, pieces, *pdf_rules.read(page, frame), notes)


class _Part:
    """See ``parsing.Part``."""

    def __init__(self, document: Any, first_page: int, last_page: int) -> None:
        self._reader = _Pages(document)
        self._numbers = range(first_page, last_page + 1)
        self._looked: list[_Looked | Page] = []

    def look(self) -> Iterator[int]:
        """See ``parsing.Part``."""
        for number in self._numbers:
            self._looked.append(self._reader.look(number))
            yield number

    def finish(self, known: Known) -> Iterator[Item]:
        """See ``parsing.Part``."""
        self._reader.learn(known)
        for number, looked in zip(self._numbers, self._looked, strict=True):
            page = self._reader.finish(looked)
            if number == self._numbers[-1]:
                yield Learned(number, self._reader.known())
            yield page
        if self._numbers[-1] == self._reader.count:
            yield from self._reader.scans.warnings()


def _unreadable(number: int) -> Page:
    return Page(number, "", problem=errors.DamagedDocument(f"Page {number} has unreadable text.").problem())


def _form(document: Any) -> Any | None:
    """pdfium's handle of the document's form, if it has one that can be read."""
    try:
        document.init_forms()
    except pypdfium2.PdfiumError:
        return None
    return document.formenv.raw if document.formenv else None
