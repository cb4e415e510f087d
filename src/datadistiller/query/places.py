"""Pure: where a passage stands, in words for a person and as rectangles on its page."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from datadistiller import cells
from datadistiller.chunking.outline import SEPARATOR
from datadistiller.model import Line, Passage, Sentence
from datadistiller.parsing import formats

#: Left, top, right, bottom, in the unit of the page's size, from its top left corner.
Rect = tuple[float, float, float, float]

_STRONG = ("L", "R", "AL")
#: A line this many times as high as wide runs along another axis: nobody knows from which end.
_UPRIGHT = 2.0


def words(media_type: str, page: int, label: str, context: str = "", named: str = "") -> str:
    """What a person calls the place: "page iv", "sheet Costs, B12:F14", "slide 7", "section Results".

    Empty for a text that has neither pages nor headings. ``context`` is the chunk's title and heading path,
    ``named`` what the cells are called that it says.
    """
    where = _page_words(media_type, page, label, context)
    if not named:
        return where
    return f"{where}, {named}" if where else f"{'cells' if ':' in named else 'cell'} {named}"


def _page_words(media_type: str, page: int, label: str, context: str) -> str:
    kind = formats.BY_MEDIA_TYPE[media_type].pages if media_type in formats.BY_MEDIA_TYPE else "page"
    if kind:
        return f"{kind} {label or page}"
    if label:
        return label
    heading = context.rpartition(SEPARATOR)[2] if SEPARATOR in context else ""
    return f"section {heading}" if heading else ""


def of_passage(passage: Passage) -> list[Rect]:
    """The rectangles of a passage; none without geometry."""
    return list(rectangles(passage.lines, passage.start, passage.end, passage.text))


def cells_of_passage(passage: Passage) -> str:
    """The name of the cells that a passage says, empty if it is out of no sheet."""
    return cells.name(passage.cells)


def cells_of_sentence(sentence: Sentence, passages: Sequence[Passage]) -> str:
    """The name of the cells that a sentence of an answer says, whose passages these are."""
    passage = passages[sentence.citation - 1]
    return cells.name(list(cells.within(passage.cells, passage.text, passage.start, sentence.start, sentence.end)))


def of_sentence(sentence: Sentence, passages: Sequence[Passage]) -> list[Rect]:
    """The rectangles of a sentence of an answer, whose passages these are."""
    lines = passages[sentence.citation - 1].lines
    return list(rectangles(lines, sentence.start, sentence.end, sentence.text))


def rectangles(lines: Sequence[Line], start: int, end: int, text: str) -> Iterator[Rect]:
    """What the characters ``[start, end)`` of a page, which are ``text``, cover on it: a rectangle per line.

    At both ends of the range a line is cut in proportion to its characters, from the right if it is Hebrew or Arabic;
    a line that does not run across the page is taken whole.
    """
    for line in lines:
        if start <= line.start and line.end <= end:
            yield line.left, line.top, line.right, line.bottom
            continue
        begin, until = max(start, line.start), min(end, line.end)
        cited = text[begin - start : until - start] if begin < until else ""
        if cited.strip():
            left, right = _cut(line, begin, until, cited)
            yield round(left, 1), line.top, round(right, 1), line.bottom


def _cut(line: Line, begin: int, until: int, cited: str) -> tuple[float, float]:
    """From where to where the characters ``[begin, until)`` of a line reach."""
    if line.bottom - line.top >= _UPRIGHT * (line.right - line.left):
        return line.left, line.right
    share = (line.right - line.left) / (line.end - line.start)
    before, after = share * (begin - line.start), share * (line.end - until)
    if _from_the_right(cited):
        before, after = after, before
    return line.left + before, line.right - after


def _from_the_right(text: str) -> bool:
    if text.isascii():
        return False
    strong = (kind for kind in map(unicodedata.bidirectional, text) if kind in _STRONG)
    return next(strong, "L") != "L"
