"""Running headers and footers of PDF pages, and page numbers: found, so that they are left out of the text.

Only pages that were read before are looked at, so that a page which kills the parser is never read for the sake of
another, which would be blamed. The price is that the first page of a document keeps what is no page number.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from datadistiller.parsing import Known
from datadistiller.parsing.pdf.lines import Piece
from datadistiller.parsing.pdf.order import rows
from datadistiller.parsing.pdf.words import Frame

#: The share of a page above and below that is margin; pages looked back at, for left and right ones may differ.
_MARGIN, _PAGES = 0.085, 4
#: Lines from the edge that may be running ones without standing in the margin; pieces that are looked at for them.
_LINES, _PIECES = 2, 12
_DIGITS = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(r"\W*(?:page|seite|página|p\.)?\s*(\w+)\s*(?:(?:of|von|de|/|\|)\s*\d+)?\W*", re.I)


class Running(NamedTuple):
    """A line at an edge: its text with # for the numbers in it, and these."""

    text: str
    numbers: tuple[int, ...]


class Margins:
    """Remembers what stood at the edges of the last pages."""

    def __init__(self, known: Known | None = None) -> None:
        """``known``: what another one remembers of the pages before."""
        self._seen: deque[tuple[int, set[Running]]] = deque(maxlen=_PAGES)
        for page, lines in known["seen"] if known else ():
            self._seen.append((page, {Running(text, tuple(numbers)) for text, numbers in lines}))

    def known(self) -> Known:
        """What it remembers."""
        return {"seen": [(page, [(line.text, line.numbers) for line in lines]) for page, lines in self._seen]}

    def without(self, pieces: Sequence[Piece], frame: Frame, number: int, label: str) -> list[Piece]:
        """The pieces of page ``number`` that are its own; all, if none would be left.

        A line at the edge goes if it is the page's number or ``label``, or if it stood at the edge of a page shortly
        before. Numbers in it must be the same or have grown with the pages: the last row of a table is no footer.
        """
        here: set[Running] = set()
        dropped: set[int] = set()
        for lines in _edges(pieces, frame):
            for at, (line, margin) in enumerate(lines):
                running = _running(line)
                here.add(running)
                if self._stood(running, number) or _is_number(line, (str(number), label)):
                    dropped.update(map(id, line))
                elif not margin or at >= _LINES:
                    break
        self._seen.append((number, here))
        return [piece for piece in pieces if id(piece) not in dropped] or list(pieces)

    def _stood(self, line: Running, number: int) -> bool:
        return any(
            line.text == other.text and _continues(line.numbers, other.numbers, number - page)
            for page, lines in self._seen
            for other in lines
        )


def _continues(numbers: Sequence[int], others: Sequence[int], pages: int) -> bool:
    """True if each number is the other one, or as much more as there are pages between."""
    return all(a - b in (0, pages) for a, b in zip(numbers, others, strict=True))


def _edges(pieces: Sequence[Piece], frame: Frame) -> Iterator[list[tuple[list[Piece], bool]]]:
    """The lines at the top and those at the bottom, from the edge inwards, and whether they are in the margin."""
    low, high = _MARGIN * frame.height, (1 - _MARGIN) * frame.height
    ordered = sorted((piece for piece in pieces if piece.upright), key=lambda piece: piece.box.top)
    above, below = rows(ordered[:_PIECES]), rows(ordered[-_PIECES:])[::-1]
    yield [(row, margin) for n, row in enumerate(above) if (margin := row[0].box.bottom < low) or n < _LINES]
    yield [(row, margin) for n, row in enumerate(below) if (margin := row[0].box.top > high) or n < _LINES]


def _running(line: Sequence[Piece]) -> Running:
    text = " ".join(piece.text for piece in line).casefold()
    return Running(_DIGITS.sub("#", text), tuple(int(digits[:9]) for digits in _DIGITS.findall(text)))


def _is_number(line: Sequence[Piece], numbers: Sequence[str]) -> bool:
    match = _PAGE_NUMBER.fullmatch(line[0].text) if len(line) == 1 else None
    return match is not None and match[1].casefold() in numbers
