"""Tables as text: comma-, semicolon-, tab- or bar-separated."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from datadistiller.parsing import Header, Item, formats, sheets
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.text import read_text

_DELIMITERS = ",;\t|"
_SAMPLE_CHARS = 65_536
_SAMPLE_ROWS = 50
_FIELD_CHARS = 1 << 27


def delimiter_of(text: str, usual: str) -> str:
    """The delimiter that cuts the first rows most evenly into two or more fields; ``usual`` if none does."""

    def evenness(delimiter: str) -> tuple[float, int]:
        rows = [
            row for row, _ in zip(csv.reader(sample, delimiter=delimiter), range(_SAMPLE_ROWS), strict=False) if row
        ]
        widths = [len(row) for row in rows]
        common = max(set(widths), key=widths.count, default=1)
        return (widths.count(common) / len(widths), common) if common > 1 else (0.0, 0)

    sample = text[:_SAMPLE_CHARS].splitlines()
    best = max(_DELIMITERS, key=lambda d: (*evenness(d), d == usual))
    return best if evenness(best)[0] > 0 else usual


class CsvParser:
    """Reads tables in text form; every row carries the words of the header, if there is one."""

    name = "csv"
    media_types = (formats.CSV, formats.TSV)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. The whole file is held in memory."""
        file = read_text(path)
        csv.field_size_limit(_FIELD_CHARS)
        delimiter = delimiter_of(file.text, "\t" if media_type == formats.TSV else ",")
        records = csv.reader(io.StringIO(file.text), delimiter=delimiter)
        rows = ((number, [cell.strip() for cell in record]) for number, record in enumerate(records, 1))
        page = PageBuilder()
        sheets.add_rows(rows, page)
        yield Header(self.name, media_type, "", 1, file.encoding)
        yield from file.warnings
        yield page.build(1)
