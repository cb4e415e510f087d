"""``python -m benchmarks.pdf [--rivals PYTHON]``: PDF pages a second, memory, and tables beside other libraries'.

Speed is counted in CPU time of one process, on the 1,037 pages of DATADISTILLER_DATA/filings, file by file in turn:
the bare text of pypdfium2, the words with their places, and the whole parser. Memory is the peak of a process that
reads 600 pages. Text recognition is off, as the other libraries have none. Tables are those of
``benchmarks.pdf_tables``. Other libraries run in ``PYTHON``, an interpreter that has some of them; those it lacks are
named. The result is written to ``docs/guide/parsing.md``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pypdfium2

from benchmarks import pdf_rivals, pdf_tables, run
from benchmarks.harness import DATA
from benchmarks.parsing import bare
from benchmarks.rows import Row
from datadistiller.parsing import formats
from datadistiller.parsing.pdf import lines as pdf_lines
from datadistiller.parsing.pdf import rules as pdf_rules
from datadistiller.parsing.pdf import words as pdf_words
from datadistiller.parsing.pdf.page import Sheet, parts
from datadistiller.parsing.pdf.parser import PdfParser
from datadistiller.parsing.pdf.tables import Table
from datadistiller.runtime.sandbox import Limits, Sandbox

PAGE = Path(__file__).parent.parent / "docs" / "guide" / "parsing.md"
PAGES = 600
TIMEOUT = 1_800


def placed(paths: list[Path]) -> int:
    """Reads the words of every page with their places; how many pages there are."""
    pages = 0
    for path in paths:
        with pypdfium2.PdfDocument(path) as document:
            for page in document:
                textpage = page.get_textpage()
                pdf_lines.pieces(textpage, pdf_words.frame_of(page))
                textpage.close()
                page.close()
                pages += 1
    return pages


def whole(paths: list[Path]) -> int:
    """Parses files as the product does, the sandbox left out; how many pages there are."""
    return sum(sum(1 for _ in PdfParser().parse(path, formats.PDF)) - 1 for path in paths)


def speed() -> dict[str, float]:
    """Pages a second of CPU of each way of reading, in turns."""
    ways: dict[str, Callable[[list[Path]], int]] = {"bare": bare, "placed": placed, "whole": whole}
    seconds, pages = dict.fromkeys(ways, 0.0), 0
    for path in sorted((DATA / "filings").glob("*.pdf")):
        for name, way in ways.items():
            started = time.process_time()
            count = way([path])
            seconds[name] += time.process_time() - started
        pages += count
    return {name: pages / spent for name, spent in seconds.items()}


def joined(path: Path) -> None:
    """Writes a PDF of 600 pages, put together from the reports."""
    with pypdfium2.PdfDocument.new() as target:
        for source in sorted((DATA / "filings").glob("*.pdf")):
            with pypdfium2.PdfDocument(source) as document:
                if wanted := min(len(document), PAGES - len(target)):  # none would mean all
                    target.import_pages(document, range(wanted))
        target.save(path)


def peak(paths: list[Path]) -> int:
    """The peak memory of a fresh process that parses files, bytes."""
    code = (
        "import resource, sys\nsys.modules['rapidocr'] = None\n"
        "from pathlib import Path\nfrom datadistiller.parsing.pdf.parser import PdfParser\n"
        "for path in sys.argv[1:]:\n for _ in PdfParser().parse(Path(path), ''):\n  pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, check=True, text=True)
    return int(done.stdout)


def grids(path: Path) -> Iterator[pdf_tables.Grid]:
    """The tables that the product finds in a file."""
    with pypdfium2.PdfDocument(path) as document:
        for page in document:
            frame, textpage = pdf_words.frame_of(page), page.get_textpage()
            sheet = Sheet(frame, pdf_lines.pieces(textpage, frame), *pdf_rules.read(page, frame))
            for part in parts(sheet):
                if isinstance(part, Table):
                    yield as_grid(part)
            textpage.close()
            page.close()


def as_grid(table: Table) -> pdf_tables.Grid:
    """A table as rows of texts."""
    rows = [[""] * table.columns for _ in table.rows]
    for texts, row in zip(rows, table.rows, strict=True):
        for cell in row:
            texts[cell.column] = cell.text
    return rows


def ours() -> str:
    """The row of the product in the table of libraries."""
    paths = sorted(pdf_tables.PDFS.glob("*.pdf"))
    started = time.process_time()
    whole(paths)
    seconds = time.process_time() - started
    score = pdf_tables.score(grids)
    said = f"{score.cells:.3f} | {score.neighbours:.3f} | {pages() / seconds:.0f}"
    return f"| DataDistiller | | | {said} | {peak(paths) >> 20} MB |"


def pages() -> int:
    """Pages of the files with tables."""
    return sum(len(pypdfium2.PdfDocument(path)) for path in pdf_tables.PDFS.glob("*.pdf"))


def rival(name: str, python: str) -> str:
    """The row of another library, or that it is not there."""
    command = [python, pdf_rivals.__file__, name, str(pdf_tables.PDFS)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, text=True)
    except subprocess.TimeoutExpired:
        return f"| {name} | | | not done in {TIMEOUT // 60} minutes | | | |"
    if done.returncode:
        return f"| {name} | | | not installed | | | |"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    score = pdf_tables.score(lambda path: found["tables"].get(path.stem, []))
    said = f"{score.cells:.3f} | {score.neighbours:.3f} | {pages() / found['seconds']:.1f}"
    return f"| {name} | {found['version']} | {found['licence']} | {said} | {found['memory'] >> 20} MB |"


async def in_parts(path: Path, processes: int) -> float:
    """Seconds that a file takes in the sandbox with so many parser processes, which are warm; the better of two."""
    sandbox = Sandbox(Limits(), concurrency=processes)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        await sandbox.parse(path, formats.PDF)
        seconds.append(time.perf_counter() - started)
    await sandbox.close()
    return min(seconds[1:])


def rows() -> list[Row]:
    """Speed and memory."""
    found = speed()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.pdf"
        joined(path)
        memory = peak([path]) >> 20
        one, two = (asyncio.run(in_parts(path, processes)) for processes in (1, 2))
    share = found["placed"] / found["bare"]
    return [
        Row("bare text of pypdfium2, one core", "", f"{found['bare']:.0f} pages/s"),
        Row(
            "words with their places, one core", ">= 85 % of that", f"{found['placed']:.0f} pages/s, {share:.0%}",
            share >= 0.85,
        ),
        Row(
            "order, tables, running lines, headings, one core", ">= 60 pages/s", f"{found['whole']:.0f} pages/s",
            found["whole"] >= 60,
        ),
        Row(f"peak memory of a process, {PAGES} pages", "< 400 MB", f"{memory} MB", memory < 400),
        Row(f"{PAGES} pages in the sandbox, by one process and by two", "", f"{one:.1f} s, {two:.1f} s"),
    ]  # fmt: skip


def main(python: str) -> None:
    """Measures and writes the page."""
    sys.modules["rapidocr"] = cast(ModuleType, None)  # as if it were not installed
    lines = [
        "| library | version | licence | cells F1 | neighbours F1 | pages/s | peak memory |",
        "|---|---|---|---|---|---|---|",
        ours(),
        *(rival(name, python) for name in pdf_rivals.READERS),
    ]
    text = "\n".join([run.table(rows(), "make bench-parsing"), "", *lines])
    print(text)
    run.publish(text, PAGE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rivals", default=sys.executable, help="an interpreter with other libraries")
    main(parser.parse_args().rivals)
