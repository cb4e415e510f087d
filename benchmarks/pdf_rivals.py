"""``PYTHON benchmarks/pdf_rivals.py NAME FOLDER``: what another library makes of the PDF files of a folder.

A script of its own, without the project, so that it runs in a virtual environment of theirs (the libraries are no
dependencies of ours). It prints one JSON object: version, licence, CPU seconds, peak memory in bytes, and the tables of
each file as rows of texts. The libraries run with what they come with: no models fetched, no tuning per file.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Grid = list[list[str]]


def of_markdown(text: str) -> Iterator[Grid]:
    """The tables in Markdown."""
    rows: Grid = []
    for line in [*text.splitlines(), ""]:
        if line.strip().startswith("|"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                rows.append(cells)
        elif rows:
            yield rows
            rows = []


def pdfplumber(path: Path) -> Iterator[Grid]:
    """Tables between ruled lines, its default."""
    library: Any = __import__("pdfplumber")
    with library.open(path) as document:
        for page in document.pages:
            page.extract_text()
            for table in page.extract_tables():
                yield [[cell or "" for cell in row] for row in table]


def kreuzberg(path: Path) -> Iterator[Grid]:
    """Its tables, and those in its Markdown."""
    library: Any = __import__("kreuzberg")
    result = library.extract_file_sync(str(path), config=library.ExtractionConfig(output_format="markdown"))
    found = [table.cells for table in result.tables]
    yield from found or of_markdown(result.content)


def markitdown(path: Path) -> Iterator[Grid]:
    """The tables in its Markdown."""
    library: Any = __import__("markitdown")
    yield from of_markdown(library.MarkItDown().convert(str(path)).text_content)


def docling(path: Path) -> Iterator[Grid]:
    """Its tables."""
    library: Any = __import__("docling.document_converter", fromlist=["DocumentConverter"])
    for table in library.DocumentConverter().convert(path).document.tables:
        yield [[cell.text for cell in row] for row in table.data.grid]


READERS: dict[str, tuple[str, Callable[[Path], Iterator[Grid]]]] = {
    "pdfplumber": ("pdfplumber", pdfplumber),
    "kreuzberg": ("kreuzberg", kreuzberg),
    "markitdown": ("markitdown", markitdown),
    "docling": ("docling", docling),
}


def licence(package: str) -> str:
    """As the package says it."""
    data: Any = importlib.metadata.metadata(package)
    said = data.get("License-Expression") or data.get("License") or ""
    classified = [line.rsplit("::", 1)[1].strip() for line in data.get_all("Classifier", []) if "License" in line]
    return str(said.splitlines()[0] if said and len(said) < 40 else ", ".join(classified))


def main(name: str, folder: Path) -> dict[str, Any]:
    """Reads every file; one that fails has no tables and is counted."""
    package, read = READERS[name]
    tables: dict[str, list[Grid]] = {}
    failed = 0
    for path in sorted(folder.glob("*.pdf")):
        try:
            tables[path.stem] = list(read(path))
        except Exception:  # whatever another library may raise counts as a failure of it
            failed += 1
    return {
        "version": importlib.metadata.version(package),
        "licence": licence(package),
        "seconds": time.process_time(),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "failed": failed,
        "tables": tables,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
