"""The bookmarks of a PDF: which lines of which page are headings, and of which level."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

import pypdfium2

_MAX_BOOKMARKS = 5_000
_MAX_DEPTH = 6
#: Letters of the first line of a title that goes on in the next.
_MIN_PART = 12

#: Level by title, letters and digits only.
Titles = Mapping[str, int]


def titles(document: Any) -> dict[int, dict[str, int]]:
    """The titles on each page (from 1) that a bookmark leads to; the level is its depth, 1-6."""
    found: dict[int, dict[str, int]] = {}
    try:
        for bookmark in islice(document.get_toc(max_depth=_MAX_DEPTH), _MAX_BOOKMARKS):
            dest = bookmark.get_dest()
            index = dest.get_index() if dest else None
            if index is not None:
                found.setdefault(index + 1, {}).setdefault(key(bookmark.get_title()), bookmark.level + 1)
    except (pypdfium2.PdfiumError, UnicodeError):  # a broken outline: its pages have headings by size all the same
        return found
    return found


def key(text: str) -> str:
    """What titles are compared by."""
    return re.sub(r"[\W_]+", "", text.casefold())


def level(text: str, titles: Titles) -> int:
    """The level of a line that is a title, or begins one; 0 if it is none."""
    if not titles or not (line := key(text)):
        return 0
    if line in titles:
        return titles[line]
    if len(line) < _MIN_PART:
        return 0
    return next((depth for title, depth in titles.items() if title.startswith(line)), 0)
