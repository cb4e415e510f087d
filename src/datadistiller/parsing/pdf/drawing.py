"""Draws a page of a PDF by pdfium, with annotations and values of forms. This build of it runs no scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pypdfium2

from datadistiller import errors
from datadistiller.parsing.drawing import Raster, fitting
from datadistiller.parsing.pdf.opening import open_pdf


def draw(path: Path, media_type: str, page: int, width: int, most_pixels: int) -> Raster:
    """The page on white, turned as it is shown."""
    document, _ = open_pdf(path)
    try:
        if document.get_formtype():
            document.init_forms()
        return _raster(document[page - 1], width, most_pixels)
    except (IndexError, pypdfium2.PdfiumError):
        raise errors.DamagedDocument(f"Page {page} of the PDF is damaged.") from None
    finally:
        document.close()


def _raster(page: Any, width: int, most_pixels: int) -> Raster:
    page_width, page_height = page.get_size()
    if min(page_width, page_height) <= 0:
        raise errors.DamagedDocument("The page has no size.")
    bitmap = page.render(scale=fitting(page_width, page_height, width, most_pixels), rev_byteorder=True)
    row, view = 3 * bitmap.width, memoryview(bitmap.buffer).cast("B")
    pixels = bytearray(row * bitmap.height)
    for y in range(bitmap.height):
        pixels[y * row : (y + 1) * row] = view[y * bitmap.stride : y * bitmap.stride + row]
    return Raster(bitmap.width, bitmap.height, pixels)
