"""Text recognition (OCR) as parsers use it: a picture in, the pieces of text on it and their places out.

The engine (``ocr_engine``, RapidOCR) is the extra ``ocr``. It is loaded at the first picture, so that a process
that never meets one does not pay for it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from datadistiller import errors
from datadistiller.model import Problem
from datadistiller.parsing import limits

if TYPE_CHECKING:
    from datadistiller.parsing.pictures.ocr_engine import Engine

HINT = 'Install it and upload the document again: pip install "datadistiller[ocr]"'


def installed() -> bool:
    """True if the extra is there."""
    return importlib.util.find_spec("rapidocr") is not None


@cache
def engine() -> Engine:
    """The engine of this process, loaded when it is first asked for."""
    from datadistiller.parsing.pictures.ocr_engine import Engine

    return Engine()


def warnings(read: int, part: int, empty: int, unread: int = 0) -> Iterator[Problem]:
    """About so many pages: read by OCR, not read to their end, without text found, and not read as it is missing."""
    if read:
        yield Problem("ocr", f"{_pages(read)} read by OCR.", "Compare what matters with the original.")
    if part:
        yield Problem(
            "ocr_in_part",
            f"{_pages(part)} not read to the end: that takes more than {limits.RECOGNITION_SECONDS} seconds of CPU.",
            "Cut the page into several, and upload those.",
        )
    if empty:
        yield errors.NoText(f"{_are_pictures(empty)} in which no text was found.").problem()
    if unread:
        message = f"{_are_pictures(unread)}, and text recognition (OCR) is not installed."
        yield errors.NoText(message, hint=HINT).problem()


def _pages(count: int) -> str:
    return "1 page was" if count == 1 else f"{count:,} pages were"


def _are_pictures(count: int) -> str:
    return "1 page is a picture" if count == 1 else f"{count:,} pages are pictures"
