"""Tables of real PDF files against hand-made truth (ICDAR 2013, the files of the EU): cells, and which is beside which.

Two measures over all files together. *Cells*: the texts of cells that are found, as F1 of two bags of texts.
*Neighbours*: pairs of cells that follow each other in a row or a column, blank ones passed over, as the competition
measured it. Texts are compared without case, spaces and signs. A reader that gives grids of texts gets both.
"""

from __future__ import annotations

import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.harness import DATA

PDFS = DATA / "documents" / "pdf_tables_icdar2013"
TRUTH = DATA / "truth" / "pdf_tables"

#: A table as rows of texts; what spans several places stands in the first of them.
Grid = Sequence[Sequence[str]]
Bag = Counter[tuple[str, ...]]


@dataclass(frozen=True)
class Score:
    """F1 of cells and of neighbours, 0 to 1."""

    cells: float
    neighbours: float


def normal(text: str) -> str:
    """What is compared: letters and digits; signs only where there is nothing else."""
    flat = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"\W|_", "", flat) or "".join(flat.split())


def grid(cells: Iterable[tuple[int, int, int, int, str]]) -> dict[tuple[int, int], tuple[int, str]]:
    """Number and text by (row, column) of cells given as first row, first column, last row, last column, text."""
    places: dict[tuple[int, int], tuple[int, str]] = {}
    for number, (row, column, last_row, last_column, text) in enumerate(cells):
        for r in range(row, last_row + 1):
            for c in range(column, last_column + 1):
                if normal(text):
                    places[r, c] = (number, normal(text))
    return places


def relations(places: dict[tuple[int, int], tuple[int, str]]) -> Bag:
    """The pairs of neighbours, each once: direction and both texts."""
    pairs: set[tuple[str, int, int]] = set()
    texts = dict(places.values())
    for direction, across in (("right", 0), ("below", 1)):
        ordered = sorted(places, key=lambda at, n=across: (at[n], at[1 - n]))  # type: ignore[misc]
        for here, after in pairwise(ordered):
            if here[across] == after[across] and places[here][0] != places[after][0]:
                pairs.add((direction, places[here][0], places[after][0]))
    return Counter((direction, texts[a], texts[b]) for direction, a, b in pairs)


def truth(stem: str) -> Iterator[dict[tuple[int, int], tuple[int, str]]]:
    """The tables of a document, each part of one that goes over several pages for itself."""
    for file in sorted(TRUTH.glob(f"{stem}*-str.xml")):
        if re.fullmatch(rf"{re.escape(stem)}[a-z]?-str", file.stem):
            for region in ElementTree.parse(file).iter("region"):
                yield grid(
                    (
                        int(cell.get("start-row", 0)),
                        int(cell.get("start-col", 0)),
                        int(cell.get("end-row", cell.get("start-row", 0))),
                        int(cell.get("end-col", cell.get("start-col", 0))),
                        "".join(cell.itertext()),
                    )
                    for cell in region.iter("cell")
                )


def f1(ours: Counter[tuple[str, ...]], theirs: Counter[tuple[str, ...]]) -> float:
    """Of two bags."""
    return 2 * (ours & theirs).total() / max(1, ours.total() + theirs.total())


def bags(tables: Iterable[dict[tuple[int, int], tuple[int, str]]]) -> tuple[Bag, Bag]:
    """Cells and neighbours of the tables of one document."""
    cells: Bag = Counter()
    neighbours: Bag = Counter()
    for places in tables:
        cells.update((text,) for _, text in dict(places.values()).items())
        neighbours += relations(places)
    return cells, neighbours


def of_grid(rows: Grid) -> dict[tuple[int, int], tuple[int, str]]:
    """The places of a grid of texts."""
    return grid((r, c, r, c, text or "") for r, row in enumerate(rows) for c, text in enumerate(row))


def score(read: Callable[[Path], Iterable[Grid]], verbose: bool = False) -> Score:
    """What a reader of tables gets on all files. One that fails on a file finds nothing there."""
    found: list[Bag] = [Counter(), Counter()]
    wanted: list[Bag] = [Counter(), Counter()]
    both: list[Bag] = [Counter(), Counter()]
    for path in sorted(PDFS.glob("*.pdf")):
        right, ours = bags(truth(path.stem)), bags(map(of_grid, read(path)))
        for n in (0, 1):
            tagged = Counter({(path.stem, *key): count for key, count in ours[n].items()})
            known = Counter({(path.stem, *key): count for key, count in right[n].items()})
            found[n] += tagged
            wanted[n] += known
            both[n] += tagged & known
        if verbose:
            print(f"  {path.stem:9} cells {f1(ours[0], right[0]):.3f} neighbours {f1(ours[1], right[1]):.3f}")
    shares = [2 * both[n].total() / max(1, found[n].total() + wanted[n].total()) for n in (0, 1)]
    return Score(*shares)
