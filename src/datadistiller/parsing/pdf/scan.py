"""Pages of a PDF that are pictures: rendered, and read by text recognition."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pypdfium2.raw as pdfium

from datadistiller import errors
from datadistiller.model import Page, Problem
from datadistiller.parsing import Known, limits
from datadistiller.parsing.pictures import ocr, ocr_layout

_POINTS_PER_INCH = 72
_DOTS_PER_INCH = 200
#: Enough to see whether there is anything at all: letters are grey then.
_LOOK_DOTS_PER_INCH = 50
#: Characters that fonts without a table of their letters leave: replacement, private use, no character at all.
_SOUP = re.compile("[�\ue000-\uf8ff\x00-\x08\x0e-\x1f\U000f0000-\U0010fffd]")
_SOUP_SHARE = 0.3
#: With fewer characters than this, a page that a picture covers is read anew: they are a stamp or a page number.
_FEW_CHARS = 50
_COVERED_SHARE = 0.5


class Scans:
    """Reads such pages of one document, and counts them."""

    def __init__(self, known: Known | None = None) -> None:
        """``known``: what another one has counted on the pages before."""
        counted: Sequence[int] = known["counted"] if known else (0, 0, 0, 0)
        self._read, self._part, self._empty, self._unread = counted

    def known(self) -> Known:
        """What it has counted."""
        return {"counted": (self._read, self._part, self._empty, self._unread)}

    def instead(self, handle: Any, page: Page) -> Page:
        """The page itself, if its text can be used; what its picture says, if not. ``handle`` is pdfium's page."""
        if not _wanted(handle, page.text):
            return page
        if not ocr.installed():
            self._unread += 1
            return page
        try:
            return self._recognised(handle, page)
        except MemoryError:
            raise
        except Exception as error:  # one page of many, whatever the library makes of its picture
            problem = errors.DamagedDocument(
                f"The picture on page {page.number} cannot be read ({type(error).__name__})."
            ).problem()
            return Page(page.number, "", label=page.label, problem=problem)

    def _recognised(self, handle: Any, page: Page) -> Page:
        if _blank(handle):
            self._empty += 1
            return page
        width, height = handle.get_size()
        scale = min(_DOTS_PER_INCH / _POINTS_PER_INCH, limits.MAX_RENDERED_SIDE / max(width, height))
        reading = ocr.engine().read_page(handle, scale)
        found = ocr_layout.page(page.number, page.label, reading.pieces, (width, height), 1 / scale)
        if not found.text:
            self._empty += 1
            return page
        self._read += 1
        self._part += not reading.whole
        return found

    def warnings(self) -> Iterator[Problem]:
        """What a reader should know."""
        yield from ocr.warnings(self._read, self._part, self._empty, self._unread)


def doubtful(text: str) -> bool:
    """True if the page with this text may be a picture."""
    chars = _chars(text)
    return chars < _FEW_CHARS or len(_SOUP.findall(text)) > _SOUP_SHARE * chars


def _chars(text: str) -> int:
    return len(text) - text.count(" ") - text.count("\n")


def _wanted(handle: Any, text: str) -> bool:
    chars = _chars(text)
    if not chars:
        return int(pdfium.FPDFPage_CountObjects(handle)) > 0
    if len(_SOUP.findall(text)) > _SOUP_SHARE * chars:
        return True
    return chars < _FEW_CHARS and _covered(handle) > _COVERED_SHARE


def _blank(handle: Any) -> bool:
    """True if nothing is seen on the page. A look costs milliseconds, loading the engine a second."""
    bitmap = handle.render(scale=_LOOK_DOTS_PER_INCH / _POINTS_PER_INCH, grayscale=True)
    try:
        seen = bitmap.to_numpy()
        return bool(seen.min() == seen.max())
    finally:
        bitmap.close()


def _covered(handle: Any) -> float:
    """The share of the page that its largest picture takes."""
    width, height = handle.get_size()
    pictures = handle.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=3)
    areas = []
    for picture in pictures:
        left, bottom, right, top = picture.get_bounds()
        areas.append((right - left) * (top - bottom))
    return float(max(areas, default=0.0) / max(1.0, width * height))
