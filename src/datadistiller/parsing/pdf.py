"""PDF by pdfium: the text layer page by page, with the place of every line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdfium2

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import (
    Header,
    Item,
    formats,
    pages,
    passwords,
    pdf_files,
    pdf_lines,
    pdf_notes,
    pdf_outline,
    pdf_rules,
    pdf_words,
)
from datadistiller.parsing.pdf_blocks import Layout
from datadistiller.parsing.pdf_margins import Margins
from datadistiller.parsing.pdf_opening import mended_warning, open_pdf
from datadistiller.parsing.pdf_page import Sheet, compose
from datadistiller.parsing.scan import Scans

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

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """The embedded files, then one page at a time. Raises ``errors.EncryptedDocument``, ``DamagedDocument``."""
        document, mended = open_pdf(path, self._password)
        try:
            form = _form(document)
            count = len(document)
            if not count:
                raise errors.DamagedDocument("The PDF has no pages.")
            yield Header(self.name, formats.PDF, _title(document), count)
            if mended:
                yield mended_warning()
            if first_page == 1:
                yield from pdf_files.embedded(document)
            reader = _Pages(document, form)
            for number in range(first_page, count + 1):
                yield reader.read(number)
            yield from reader.scans.warnings()
        finally:
            document.close()


class _Pages:
    """Reads the pages of a document one by one, in order; remembers of them what helps with the next."""

    def __init__(self, document: Any, form: Any | None) -> None:
        self._document = document
        self._form = form
        self._titles = pdf_outline.titles(document)
        self._layout = Layout()
        self._margins = Margins()
        self.scans = Scans()

    def read(self, number: int) -> Page:
        """A page; one that cannot be read has a ``problem``."""
        try:
            page = self._document[number - 1]
        except pypdfium2.PdfiumError:
            return Page(number, "", problem=errors.DamagedDocument(f"Page {number} of the PDF is damaged.").problem())
        try:
            label = pages.clean(self._document.get_page_label(number - 1))
            sheet = self._sheet(page, number, label)
            writer = compose(sheet, self._titles.get(number, {}), self._layout)
            return self.scans.instead(page, writer.build(number, "" if label == str(number) else label))
        except pypdfium2.PdfiumError:
            return Page(number, "", problem=errors.DamagedDocument(f"Page {number} has unreadable text.").problem())
        finally:
            page.close()

    def _sheet(self, page: Any, number: int, label: str) -> Sheet:
        frame = pdf_words.frame_of(page)
        textpage = page.get_textpage()
        try:
            pieces = pdf_lines.pieces(textpage, frame)
        finally:
            textpage.close()
        notes = list(pdf_notes.read(page, self._form, frame))
        own = self._margins.without(pieces, frame, number, label.casefold())
        return Sheet(frame, own, *pdf_rules.read(page, frame), notes)


def _form(document: Any) -> Any | None:
    """pdfium's handle of the document's form, if it has one that can be read."""
    try:
        document.init_forms()
    except pypdfium2.PdfiumError:
        return None
    return document.formenv.raw if document.formenv else None
