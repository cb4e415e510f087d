"""PDF by pypdf: text alone, for what pdfium cannot read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pypdf

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, formats, text
from datadistiller.parsing.pages import clean

logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it says what is wrong with a file in the words of the file


class PlainPdfParser:
    """Reads the text of PDF files, page by page, in the order of the file. Knows no password, no places, no tables."""

    name = "pypdf"
    media_types = (formats.PDF,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page at a time. Raises ``errors.EncryptedDocument``, ``DamagedDocument``, and what pypdf raises."""
        with pypdf.PdfReader(path) as document:
            if document.is_encrypted and not document.decrypt(""):
                raise errors.EncryptedDocument("The PDF is protected by a password.")
            count = len(document.pages)
            yield Header(self.name, formats.PDF, "", count)
            for number in range(first_page, count + 1):
                yield _page(document, number)


def _page(document: pypdf.PdfReader, number: int) -> Page:
    try:
        found = clean(document.pages[number - 1].extract_text()).strip()
    except MemoryError:
        raise
    except Exception:  # whatever is wrong with one page of many
        return Page(number, "", problem=errors.DamagedDocument(f"Page {number} of the PDF is damaged.").problem())
    return Page(number, found, text.paragraphs(found))
