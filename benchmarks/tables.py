"""``python -m benchmarks.tables``: whether a question about one cell of a made-up table finds its row.

By vectors alone. Each table has a row for each port and a column for each year; they differ in what is counted. A hit
is a passage among the first five that holds the row of the right table; it is plain if the year stands on the same
line as the number.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np

from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.model import Chunk, Page, ParsedDocument
from datadistiller.parsing import formats, registry
from datadistiller.settings import Settings
from datadistiller.wiring.adapters import choose_embedder

COUNTED = ["Wheat", "Coal", "Timber", "Salt", "Herring", "Iron", "Wool", "Wine"]
ROWS, YEARS, QUESTIONS, K = 300, range(2010, 2022), 400, 5
TYPES = {
    "markdown": formats.MARKDOWN,
    "csv": formats.CSV,
    "html": formats.HTML,
    "html, two header rows": formats.HTML,
    "csv, two header rows": formats.CSV,
}
Table = dict[str, list[int]]  # by port, a number for each year


def made(dice: random.Random) -> dict[str, Table]:
    """Tables by what they count."""
    syllables = ["ham", "bre", "lu", "ros", "stral", "wis", "kol", "dan", "ri", "re", "nor", "vis"]
    ports = [f"{a}{b}{end}".capitalize() for a in syllables for b in syllables for end in ("burg", "men", "tock")]
    picked = dice.sample(ports, ROWS)
    return {what: {port: [dice.randrange(100, 99_999) for _ in YEARS] for port in picked} for what in COUNTED}


def written(kind: str, table: Table) -> str:
    """A table as a file of this format."""
    rows = [["Port", *map(str, YEARS)], *([port, *map(str, numbers)] for port, numbers in table.items())]
    decades = [f"{str(year)[:3]}0s" for year in YEARS]
    above = ["", *(decade if n == 0 or decade != decades[n - 1] else "" for n, decade in enumerate(decades))]
    if kind.startswith("html"):
        spanned = "".join(f"<td colspan={decades.count(decade)}>{decade}" for decade in above if decade)
        first = f"<tr><td>{spanned}" if "two" in kind else ""
        return f"<table>{first}" + "".join("<tr><td>" + "<td>".join(row) for row in rows) + "</table>"
    if kind.startswith("csv"):
        return "\n".join(",".join(row) for row in ([above, *rows] if "two" in kind else rows))
    return "\n".join(["| " + " | ".join(row) + " |" for row in [rows[0], ["--"] * len(rows[0]), *rows[1:]]])


def chunks(kind: str, tables: dict[str, Table]) -> Iterator[tuple[str, Chunk]]:
    """The chunks of all tables, with what each counts."""
    chunker = Chunker(WordpieceTokenizer(), Settings().chunk_tokens)
    for what, table in tables.items():
        with tempfile.NamedTemporaryFile() as file:
            file.write(written(kind, table).encode())
            file.flush()
            items = registry.parser_of(TYPES[kind]).parse(Path(file.name), TYPES[kind])
            pages = [item for item in items if isinstance(item, Page)]
        document = ParsedDocument(pages, f"{what} in tons", "benchmark", TYPES[kind])
        yield from ((what, chunk) for chunk in chunker.chunk(UUID(int=0), document, "table"))


def main() -> None:
    """Prints a line for each format."""
    embedder = choose_embedder()
    for kind in TYPES:
        dice = random.Random(5)
        tables = made(dice)
        found = list(chunks(kind, tables))
        vectors = embedder.embed([chunk.indexed_text for _, chunk in found]).astype(np.float32)
        hits = plain = 0
        for _ in range(QUESTIONS):
            what, at = dice.choice(COUNTED), dice.randrange(len(YEARS))
            port = dice.choice(list(tables[what]))
            question = embedder.embed([f"How many tons of {what} passed {port} in {YEARS[at]}?"]).astype(np.float32)[0]
            best = [found[n] for n in np.argsort(-(vectors @ question))[:K]]
            lines = [row for counted, chunk in best if counted == what for row in chunk.text.split("\n") if port in row]
            hits += bool(lines)
            plain += any(str(YEARS[at]) in line and str(tables[what][port][at]) in line for line in lines)
        print(f"{kind}: {len(found)} chunks, hit@{K} {hits / QUESTIONS:.3f}, plain {plain / QUESTIONS:.3f}", flush=True)


if __name__ == "__main__":
    main()
