"""Where the text of a sheet stands: its rows and columns, and what spreadsheet programs call them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_REFERENCE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
#: Rows between what is named together, and the most ranges that are named.
_NEAR, _MOST_NAMED = 10, 5


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells that the characters ``[start, end)`` of a page's text say: rows and columns from 1, both ends included.

    Of several rows each is a line of the text. One row may be any part of a line, or several lines.
    """

    start: int
    end: int
    top: int
    bottom: int
    left: int
    right: int


def within(cells: Sequence[Cells], text: str, offset: int, start: int, end: int) -> Iterator[Cells]:
    """What the characters ``[start, end)`` of a page say of ``cells``, which are in the order of the text.

    ``text`` is the page's from the character ``offset`` on; it holds all of ``cells`` and of the range.
    """
    for at in range(bisect_right(cells, start, key=lambda one: one.end), len(cells)):
        one = cells[at]
        if one.start >= end:
            return
        begin, until = max(start, one.start), min(end, one.end)
        said = text[begin - offset : until - offset]
        if not said.strip():
            continue
        if one.top == one.bottom:
            yield Cells(begin, until, one.top, one.bottom, one.left, one.right)
            continue
        begin, until = begin + len(said) - len(said.lstrip()), until - len(said) + len(said.rstrip())
        top = one.top + text.count("\n", one.start - offset, begin - offset)
        yield Cells(begin, until, top, top + text.count("\n", begin - offset, until - offset), one.left, one.right)


def name(cells: Sequence[Cells]) -> str:
    """What ``cells`` are called together: "B12", "B12:F14"; empty if there are none.

    What lies far apart is named apart ("A2:F9, B700"), unless that would be a long list.
    """
    groups: list[list[Cells]] = []
    for one in cells:
        if groups and -_NEAR <= one.top - max(cell.bottom for cell in groups[-1]) <= _NEAR:
            groups[-1].append(one)
        else:
            groups.append([one])
    return ", ".join(map(_box, groups)) if len(groups) <= _MOST_NAMED else _box(cells)


def _box(cells: Sequence[Cells]) -> str:
    first = f"{column(min(one.left for one in cells))}{min(one.top for one in cells)}"
    last = f"{column(max(one.right for one in cells))}{max(one.bottom for one in cells)}"
    return first if first == last else f"{first}:{last}"


def column(number: int) -> str:
    """The letters of a column, from 1: A, Z, AA."""
    letters = ""
    while number > 0:
        number, letter = divmod(number - 1, 26)
        letters = chr(65 + letter) + letters
    return letters


def position(reference: str) -> tuple[int, int] | None:
    """Row and column, from 1, of a cell that is called so ("AB12"), None if none is."""
    found = _REFERENCE.fullmatch(reference)
    if not found:
        return None
    return int(found[2]), number_of(found[1])


def number_of(letters: str) -> int:
    """The column, from 1, that has these capital letters."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number
