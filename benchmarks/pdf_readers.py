"""``PYTHON benchmarks/pdf_readers.py FOLDER...``: which library reads damaged and odd PDF files, and how much of them.

A script of its own, without the project: it runs in a virtual environment with pypdfium2, pypdf and pdfminer.six. For
each library, over all PDF files of the folders: files it refuses, characters without spaces, CPU seconds.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def pdfium(path: Path) -> list[str]:
    """The text of each page."""
    library: Any = __import__("pypdfium2")
    with library.PdfDocument(path) as document:
        return [page.get_textpage().get_text_range() for page in document]


def pypdf(path: Path) -> list[str]:
    """The text of each page; a page that fails has none."""
    library: Any = __import__("pypdf")
    texts = []
    with library.PdfReader(path) as document:
        for page in document.pages:
            try:
                texts.append(page.extract_text())
            except Exception:
                texts.append("")
    return texts


def pdfminer(path: Path) -> list[str]:
    """The text of each page, with its analysis of the layout."""
    library: Any = __import__("pdfminer.high_level", fromlist=["extract_pages"])
    pages = library.extract_pages(path)
    return ["".join(part.get_text() for part in page if hasattr(part, "get_text")) for page in pages]


READERS: tuple[Callable[[Path], list[str]], ...] = (pdfium, pypdf, pdfminer)


def main(folders: list[str]) -> None:
    """Prints a line for each library."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    paths = sorted(path for folder in folders for path in Path(folder).glob("*.pdf"))
    for read in READERS:
        refused = characters = 0
        started = time.process_time()
        for path in paths:
            try:
                characters += sum(len("".join(text.split())) for text in read(path))
            except Exception:  # whatever a library may raise counts as a refusal
                refused += 1
        seconds = time.process_time() - started
        print(f"{read.__name__}: {refused} of {len(paths)} refused, {characters:,} characters, {seconds:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
