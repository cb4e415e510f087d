"""Lines of a PDF page in reading order become headings, paragraphs and lists, by their place, height and weight."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from datadistiller.model import BlockKind
from datadistiller.parsing import Known
from datadistiller.parsing.pdf import outline as pdf_outline
from datadistiller.parsing.pdf.lines import Piece, merged
from datadistiller.parsing.pdf.outline import Titles
from datadistiller.parsing.pdf.words import BROKEN
from datadistiller.parsing.pdf.writer import PageWriter, Part

#: Lines that are headings if they are bold, whatever their size.
_NUMBERED = re.compile(r"(part|item|chapter|section|article|appendix|annex|note|\d{1,2}(\.\d{1,2}){0,3}\.?)\s+\S", re.I)
_LIST_ITEM = re.compile(r"[•●▪◦‣∙·–]\s|[-*]\s+\S|\(?[0-9a-zA-Z]{1,2}[.)]\s")
MAX_HEADING_CHARS = 200
_COMPOUND = re.compile(r"\w+(?:-\w+)+")
#: Bold lines are headings if they have few words, and where bold words are no more than this share of the others.
_MAX_TITLE_CHARS, _MAX_BOLD, _BOLD_LEVEL = 90, 0.5, 5
_MAX_COMPOUNDS = 20_000
_SOFT_HYPHEN = "\u00ad"


class Layout:
    """Finds paragraphs and headings. Learns the height of body text over the pages it has seen."""

    def __init__(self, known: Known | None = None) -> None:
        """``known``: what another one has learned of the pages before."""
        learned = known or {"heights": [], "words": [0, 0], "compounds": []}
        self._heights: Counter[float] = Counter(dict(learned["heights"]))  # in the order in which they were met
        self._words = {True: learned["words"][0], False: learned["words"][1]}  # bold, and not
        self._compounds: set[str] = set(learned["compounds"])

    def known(self) -> Known:
        """What it has learned."""
        heights, words = list(self._heights.items()), [self._words[True], self._words[False]]
        return {"heights": heights, "words": words, "compounds": list(self._compounds)}

    def learn(self, lines: Sequence[Piece]) -> None:
        """Takes the lines of a page into account."""
        for line in lines:
            self._heights[line.height] += len(line.words)
            self._words[line.bold] += len(line.words)
            for word in line.words:
                if "-" in word.text and len(self._compounds) < _MAX_COMPOUNDS:
                    self._compounds.update(_COMPOUND.findall(word.text.casefold()))

    def add(self, rows: Sequence[Sequence[Piece]], titles: Titles, page: PageWriter) -> None:
        """Adds lines (the pieces of each) that follow each other on a page to ``page`` as blocks.

        ``titles``: the bookmarks that lead to the page.
        """
        lines = [(merged(row), row) for row in rows]
        body = self._heights.most_common(1)[0][0] if self._heights else 0.0
        telling = self._words[True] < _MAX_BOLD * self._words[False]
        between = (below.box.top - above.box.bottom for (above, _), (below, _) in pairwise(lines))
        gaps = sorted(gap for gap in between if 0 <= gap < 3 * body)
        usual_gap = gaps[len(gaps) // 3] if gaps else 0.0
        run: list[Sequence[Piece]] = []
        above, above_level = None, 0
        for line, row in lines:
            level = pdf_outline.level(line.text, titles) or _heading_level(line, body)
            if not level and telling and all(piece.bold for piece in row) and _is_short_title(line.text):
                level = _BOLD_LEVEL
            if above and (level != above_level or _parted(above, line, usual_gap)):
                self._add(page, run, above_level)
                run = []
            run.append(row)
            above, above_level = line, level
        if run:
            self._add(page, run, above_level)

    def _add(self, page: PageWriter, run: Sequence[Sequence[Piece]], level: int) -> None:
        if level and sum(len(piece.text) for row in run for piece in row) <= MAX_HEADING_CHARS:
            page.add(BlockKind.HEADING, self._parts(run, " "), level)
        else:
            item = _LIST_ITEM.match(merged(run[0]).text) is not None
            page.add(BlockKind.LIST if item else BlockKind.PARAGRAPH, self._parts(run, "\n"))

    def _parts(self, run: Sequence[Sequence[Piece]], glue: str) -> Iterator[Part]:
        """The pieces of each line, with the halves of broken words joined."""
        flat = [(piece, " " if number else glue) for row in run for number, piece in enumerate(row)]
        broken = False
        for at, (piece, before) in enumerate(flat):
            text = piece.text
            before = "" if broken else before
            broken = text.endswith((*BROKEN, _SOFT_HYPHEN))
            if broken and at + 1 < len(flat) and self._is_compound(piece, flat[at + 1][0]):
                text = text[:-1] + "-"
            yield Part(text, piece.box, before)

    def _is_compound(self, piece: Piece, below: Piece) -> bool:
        """True if the hyphen belongs to the word: so it was written within a line before."""
        whole = f"{piece.words[-1].text[:-1]}-{below.words[0].text}".casefold()
        return any(word in self._compounds for word in _COMPOUND.findall(whole))


def _heading_level(line: Piece, body: float) -> int:
    """1-4 for a line that is evidently a heading, 0 otherwise."""
    text = line.text
    if not body or not line.upright or len(text) > MAX_HEADING_CHARS or not any(c.isalpha() for c in text):
        return 0
    ratio = line.height / body
    if ratio >= 1.18:
        return 1 if ratio >= 1.7 else 2 if ratio >= 1.35 else 3
    return 4 if line.bold and ratio > 0.9 and text[-1] not in ".,;:" and _NUMBERED.match(text) else 0


def _is_short_title(text: str) -> bool:
    """True for a few words with a capital in front and no full stop at the end."""
    few = len(text) <= _MAX_TITLE_CHARS and text[0].isupper() and text[-1] not in ".,;:"
    return few and any(char.isalpha() for char in text[1:]) and _LIST_ITEM.match(text) is None


def _parted(above: Piece, line: Piece, usual_gap: float) -> bool:
    """True if ``line`` begins a new block: a wider gap than usual, another size, another column, a list item."""
    gap = line.box.top - above.box.bottom
    height = max(line.height, 1.0)
    return (
        gap > usual_gap + 0.35 * height
        or gap < -1.5 * height
        or abs(above.height - line.height) > 0.12 * height
        or _LIST_ITEM.match(line.text) is not None
    )
