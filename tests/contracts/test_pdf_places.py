"""Lines of real PDF files stand where they are said to stand: pdfium finds the same characters in their rectangles.

And what is cited of them is what was read, on every file (invariant 10).
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pypdfium2
import pypdfium2.raw as pdfium
import pytest

from datadistiller import errors
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.model import Line, Page, ParsedDocument
from datadistiller.parsing import formats
from datadistiller.parsing.pdf import words as pdf_words
from datadistiller.parsing.pdf.opening import open_pdf
from datadistiller.runtime.sandbox import Limits, Sandbox

DATA = Path(os.environ.get("DATADISTILLER_DATA", "../shared/data"))
#: A page has hundreds of lines, and they are all made by the same code.
PAGES, LINES = 6, 20
#: Text on top of other text, a font whose letters have no extent, a box that pdfium does not read by place.
ODD = {"tika__testOverlappingText.pdf", "pdfjs__endchar.pdf", "tika__testPDFVarious.pdf"}
#: Pages that OCR reads have nothing to compare with, and take a minute and a half.
SCANS = "pdf_scanned"


def folders() -> dict[str, list[Path]]:
    """The PDF files of the manifest by folder; none without the data."""
    found: dict[str, list[Path]] = {}
    manifest = DATA / "documents" / "MANIFEST.csv"
    if manifest.is_file():
        with manifest.open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                if row["path"].endswith(".pdf") and row["path"].split("/")[-2] != SCANS:
                    found.setdefault(row["path"].split("/")[-2], []).append(DATA / "documents" / row["path"])
    return found


FOLDERS = folders()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    if not FOLDERS:
        pytest.skip(f"the real documents are not at {DATA} (set DATADISTILLER_DATA)")
    sandbox = Sandbox(Limits(), concurrency=2)
    yield sandbox
    await sandbox.close()


@pytest.fixture(scope="module")
def chunker() -> Chunker:
    return Chunker(WordpieceTokenizer(), 200)


async def read(sandbox: Sandbox, path: Path) -> ParsedDocument | None:
    try:
        return await sandbox.parse(path, formats.PDF)
    except errors.DataDistillerError:
        return None


def letters(text: str) -> Counter[str]:
    return Counter(char for char in text.casefold() if char.isalnum())


def found(textpage: pypdfium2.PdfTextPage, frame: pdf_words.Frame, line: Line, inset: float) -> Counter[str]:
    """What pdfium finds in a line's rectangle, made smaller by ``inset`` of its height above and below."""
    margin = inset * (line.bottom - line.top)
    left, right, top, bottom = line.left + margin, line.right - margin, line.top + margin, line.bottom - margin
    width, height = frame.width, frame.height
    x, y = {
        0: ((left, right), (height - bottom, height - top)),
        1: ((top, bottom), (left, right)),
        2: ((width - right, width - left), (top, bottom)),
        3: ((height - bottom, height - top), (width - right, width - left)),
    }[frame.quarters]
    return letters(
        textpage.get_text_bounded(x[0] + frame.left, y[0] + frame.bottom, x[1] + frame.left, y[1] + frame.bottom)
    )


def notes(page: pypdfium2.PdfPage, frame: pdf_words.Frame) -> Iterator[tuple[float, float]]:
    """The lower left corners of form fields and notes, where these are on the page."""
    for number in range(pdfium.FPDFPage_GetAnnotCount(page)):
        note, rect = pdfium.FPDFPage_GetAnnot(page, number), pdfium.FS_RECTF()
        pdfium.FPDFAnnot_GetRect(note, rect)
        left, _, _, bottom = frame.edges(rect)
        yield max(0.0, left), min(frame.height, bottom)
        pdfium.FPDFPage_CloseAnnot(note)


def differing(document: pypdfium2.PdfDocument, page: Page) -> Iterator[tuple[int, int, int]]:
    """For some lines: letters that are not in the rectangle, letters that are amid it and not in the line, letters."""
    shown = document[page.number - 1]
    frame = pdf_words.frame_of(shown)
    textpage = shown.get_textpage()
    noted = list(notes(shown, frame))  # what is written on the page is no text of it
    for line in page.lines[:: 1 + len(page.lines) // LINES]:
        if any(abs(line.left - left) + abs(line.bottom - bottom) < 1 for left, bottom in noted):
            continue
        ours = letters(page.text[line.start : line.end])
        lost = ours - found(textpage, frame, line, 0)
        upright = line.right - line.left > line.bottom - line.top
        more = found(textpage, frame, line, 0.35) - ours if upright else Counter[str]()
        yield lost.total(), more.total(), ours.total()
    textpage.close()


def check_order(page: Page) -> None:
    at = 0
    assert page.size is not None
    for line in page.lines:
        assert at <= line.start < line.end <= len(page.text)
        assert page.text[line.start : line.end].strip()
        assert 0 <= line.left < line.right <= page.size[0] + 0.05
        assert 0 <= line.top < line.bottom <= page.size[1] + 0.05
        at = line.end


def check_chunks(chunker: Chunker, parsed: ParsedDocument, name: str) -> None:
    """Chunks are what stands at their place, and all that stands there."""
    pages = {page.number: page.text for page in parsed.pages}
    covered: Counter[int] = Counter()
    for chunk in chunker.chunk(UUID(int=0), parsed, name):
        assert pages[chunk.page][chunk.start : chunk.end] == chunk.text
        covered[chunk.page] += len("".join(chunk.text.split()))
    assert covered == {number: len("".join(text.split())) for number, text in pages.items() if text.strip()}


@pytest.mark.parametrize("folder", FOLDERS or ["none"])
async def test_lines_hold_what_stands_there(sandbox: Sandbox, chunker: Chunker, folder: str) -> None:
    for path in FOLDERS.get(folder, []):
        parsed = await read(sandbox, path)
        if parsed is None:
            continue
        check_chunks(chunker, parsed, path.name)
        if path.name in ODD:
            continue
        counts: list[tuple[int, int, int]] = []
        with open_pdf(path)[0] as document:
            for page in parsed.pages[:PAGES]:
                if page.problem is None and not page.recognised:
                    check_order(page)
                    counts += differing(document, page)
        lost, more, seen = (sum(count) for count in zip(*counts, strict=True)) if counts else (0, 0, 0)
        assert lost <= 0.01 * seen + 3, path.name
        assert more <= 0.05 * seen + 3, path.name
