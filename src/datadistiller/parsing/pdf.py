"""PDF by pdfium: the text layer page by page, with the place of every line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, formats, pages, pdf_lines, pdf_order
from datadistiller.parsing.pdf_blocks import Layout
from datadistiller.parsing.pdf_writer import PageWriter

_NO_TITLE = re.compile(
    r"(untitled.*|microsoft (word|powerpoint|excel).*|.*\.(docx?|pdf|indd|xlsx?|pptx?|tex|rtf|qxd|p65)|[\d\s._-]*)$",
    re.I,
)


def _open(path: Path) -> Any:
    try:
        return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
            raise errors.EncryptedDocument("The PDF is protected by a password.") from None
        raise errors.DamagedDocument("The file is damaged, or it is not a PDF.") from None


def _title(document: Any) -> str:
    title = " ".join(pages.clean(document.get_metadata_value("Title")).split())
    return "" if _NO_TITLE.match(title) else title[:300]


class PdfParser:
    """Reads the text layer of PDF files. Scans have none: their pages come out empty."""

    name = "pdfium"
    media_types = (formats.PDF,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page at a time. Raises ``errors.EncryptedDocument`` and ``errors.DamagedDocument``."""
        document = _open(path)
        try:
            count = len(document)
            if not count:
                raise errors.DamagedDocument("The PDF has no pages.")
            yield Header(self.name, formats.PDF, _title(document), count)
            layout = Layout()
            for number in range(first_page, count + 1):
                yield read_page(document, number, layout)
        finally:
            document.close()


def read_page(document: Any, number: int, layout: Layout) -> Page:
    """A page; one that cannot be read has a ``problem``."""
    try:
        page = document[number - 1]
    except pypdfium2.PdfiumError:
        return Page(number, "", problem=errors.DamagedDocument(f"Page {number} of the PDF is damaged.").problem())
    try:
        frame = pdf_lines.frame_of(page)
        textpage = page.get_textpage()
        try:
            found = pdf_lines.pieces(textpage, frame)
        finally:
            textpage.close()
        layout.learn(found)
        writer = PageWriter((frame.width, frame.height))
        for region in pdf_order.regions(found):
            layout.add(pdf_order.rows(region), writer)
        label = document.get_page_label(number - 1)
        return writer.build(number, "" if label == str(number) else pages.clean(label))
    except pypdfium2.PdfiumError:
        return Page(number, "", problem=errors.DamagedDocument(f"Page {number} has unreadable text.").problem())
    finally:
        page.close()
