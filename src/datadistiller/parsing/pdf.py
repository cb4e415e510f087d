"""PDF by pdfium: text page by page; paragraphs and headings from the place and the height of the lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from ctypes import byref, c_int, create_string_buffer
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from datadistiller import errors
from datadistiller.model import BlockKind, Page
from datadistiller.parsing import Header, Item, formats, pages
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.scan import Scans

_NO_TITLE = re.compile(
    r"(untitled.*|microsoft (word|powerpoint|excel).*|.*\.(docx?|pdf|indd|xlsx?|pptx?|tex|rtf|qxd|p65)|[\d\s._-]*)$",
    re.I,
)
#: Lines that are headings if they are bold, whatever their size.
_NUMBERED = re.compile(r"(part|item|chapter|section|article|appendix|annex|note|\d{1,2}(\.\d{1,2}){0,3}\.?)\s+\S", re.I)
_LIST_ITEM = re.compile(r"[•●▪◦‣∙·–]\s|[-*]\s+\S|\(?[0-9a-zA-Z]{1,2}[.)]\s")
_MAX_HEADING_CHARS = 200
_HYPHENS = ("\ufffe", "\x02", "\u00ad")  # how pdfium marks a word broken at the end of a line
_BOLD_WEIGHT = 600


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of text; lengths in points, ``y`` upwards. ``at`` is its first character in pdfium's list."""

    text: str
    at: int
    height: float
    top: float
    bottom: float


class _Layout:
    """Finds paragraphs and headings. Learns the height of body text over the pages it has seen."""

    def __init__(self) -> None:
        self._heights: Counter[float] = Counter()

    def blocks(self, lines: Sequence[_Line], textpage: Any, page: PageBuilder) -> None:
        """Adds the lines of a page to ``page`` as blocks."""
        for line in lines:
            self._heights[line.height] += len(line.text)
        body = self._heights.most_common(1)[0][0] if self._heights else 0.0
        gaps = sorted(a.bottom - b.top for a, b in pairwise(lines) if 0 <= a.bottom - b.top < 3 * body)
        usual_gap = gaps[len(gaps) // 3] if gaps else 0.0
        run: list[_Line] = []
        run_level = 0
        for line in lines:
            level = _heading_level(line, body, textpage)
            if run and (level != run_level or _parted(run[-1], line, usual_gap)):
                _add(page, run, run_level)
                run = []
            run.append(line)
            run_level = level
        _add(page, run, run_level)


def _heading_level(line: _Line, body: float, textpage: Any) -> int:
    """1-4 for a line that is evidently a heading, 0 otherwise."""
    if len(line.text) > _MAX_HEADING_CHARS or not body or not any(c.isalpha() for c in line.text):
        return 0
    ratio = line.height / body
    if ratio >= 1.18:
        return 1 if ratio >= 1.7 else 2 if ratio >= 1.35 else 3
    numbered = ratio > 0.9 and _NUMBERED.match(line.text) and line.text[-1] not in ".,;:"
    return 4 if numbered and _bold(textpage, line.at) else 0


def _bold(textpage: Any, at: int) -> bool:
    """True if a character's font is bold by its weight or, as in most files, by its name."""
    if pdfium.FPDFText_GetFontWeight(textpage, at) >= _BOLD_WEIGHT:
        return True
    name = create_string_buffer(128)
    pdfium.FPDFText_GetFontInfo(textpage, at, name, len(name), byref(c_int()))
    return b"bold" in name.value.lower() or b"black" in name.value.lower()


def _parted(above: _Line, line: _Line, usual_gap: float) -> bool:
    """True if ``line`` begins a new block: a wider gap than usual, another size, another column, a list item."""
    gap = above.bottom - line.top
    height = max(line.height, 1.0)
    return (
        gap > usual_gap + 0.35 * height
        or gap < -1.5 * height
        or abs(above.height - line.height) > 0.12 * height
        or _LIST_ITEM.match(line.text) is not None
    )


def _add(page: PageBuilder, run: Sequence[_Line], level: int) -> None:
    text = "".join(line.text[:-1] if line.text.endswith(_HYPHENS) else line.text + "\n" for line in run)
    if level and len(text) <= _MAX_HEADING_CHARS:
        page.add(BlockKind.HEADING, " ".join(text.split()), level)
    else:
        item = bool(run) and _LIST_ITEM.match(run[0].text) is not None
        page.add(BlockKind.LIST if item else BlockKind.PARAGRAPH, text)


def _lines(textpage: Any) -> Iterator[_Line]:
    """The lines of a page in reading order as pdfium sees it, with the place of each one's first character."""
    text = textpage.get_text_range()
    box = pdfium.FS_RECTF()
    wide = not text.isascii() and max(text) > "\uffff"
    at = 0  # in UTF-16 units, as pdfium counts
    for raw in text.split("\n"):
        line = raw.rstrip("\r ")
        skipped = len(line) - len(line.lstrip())
        if skipped < len(line):
            index = pdfium.FPDFText_GetCharIndexFromTextIndex(textpage, at + skipped)
            found = pdfium.FPDFText_GetLooseCharBox(textpage, index, byref(box))
            top, bottom = (max(box.top, box.bottom), min(box.top, box.bottom)) if found else (0.0, 0.0)
            yield _Line(line[skipped:], index, round(top - bottom, 1), top, bottom)
        at += len(raw) + 1 + (sum(1 for c in raw if c > "\uffff") if wide else 0)


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
    """Reads the text layer of PDF files; pages that are pictures are recognised."""

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
            layout, scans = _Layout(), Scans()
            for number in range(first_page, count + 1):
                yield self._page(document, number, layout, scans)
            yield from scans.warnings()
        finally:
            document.close()

    def _page(self, document: Any, number: int, layout: _Layout, scans: Scans) -> Page:
        try:
            page = document[number - 1]
        except pypdfium2.PdfiumError:
            return Page(number, "", problem=errors.DamagedDocument(f"Page {number} of the PDF is damaged.").problem())
        try:
            textpage = page.get_textpage()
            try:
                builder = PageBuilder()
                layout.blocks(list(_lines(textpage)), textpage, builder)
                label = document.get_page_label(number - 1)
                built = builder.build(number, "" if label == str(number) else pages.clean(label))
                return scans.instead(page, built)
            finally:
                textpage.close()
        except pypdfium2.PdfiumError:
            return Page(number, "", problem=errors.DamagedDocument(f"Page {number} has unreadable text.").problem())
        finally:
            page.close()
