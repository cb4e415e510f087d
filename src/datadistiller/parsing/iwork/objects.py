"""What iWork documents since 2013 say: texts with their headings, tables, shapes, in the order of the document.

Numbers of types and fields are those that keynote-parser and numbers-parser found in the programs.
"""

from __future__ import annotations

import re

from datadistiller.model import BlockKind
from datadistiller.parsing import limits, sheets
from datadistiller.parsing.iwork.iwa import Message, Objects
from datadistiller.parsing.iwork.tables import Table
from datadistiller.parsing.pages import PageBuilder

#: Types of objects: what is placed on a page and holds text.
SHAPES, TABLES, TEXTS = (2011,), (6000,), (2001, 2005)
_PLACEHOLDERS, _GROUPS, _ATTACHED, _FOOTNOTES = (7, 12, 10011), (3008,), (2003,), (2008,)
_PARAGRAPHS, _ATTACHMENTS, _FOOTNOTE_MARKS = 5, 9, 16
#: How the programs name the styles of headings, in their own language only.
_HEADING = re.compile(r"(?:(title)|heading ?(\d)?|(subtitle|subheading))\b", re.I)
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_MARKS = re.compile("[\ufffc\x04\x05\x0e]")
_STYLES_FOLLOWED = 10


class Body:
    """Puts objects on a page, each of them once."""

    def __init__(self, objects: Objects) -> None:
        self.page = PageBuilder()
        self._objects = objects
        self._done: set[int] = set()
        self._notes: list[int] = []  # footnotes, which stand at the end

    def add(self, number: int, depth: int = 0) -> None:
        """Adds a shape, a group of them, a table, or what is attached to a text."""
        if number in self._done or depth > limits.MAX_DEPTH:
            return
        self._done.add(number)
        kind, found = self._objects.kind(number), self._objects.get(number)
        if kind in SHAPES:
            self.text(_storage(found), depth + 1)
        elif kind in _PLACEHOLDERS:
            self.text(_storage(found.message(1)), depth + 1)
        elif kind in _GROUPS:
            for child in found.references(2):
                self.add(child, depth + 1)
        elif kind in _ATTACHED:
            self.add(found.reference(1), depth + 1)
        elif kind in TABLES:
            self._table(found)

    def title(self, number: int) -> None:
        """Adds a shape whose text is a heading."""
        self._done.add(number)
        found = self._objects.get(number)
        self.page.add(BlockKind.HEADING, self._plain(_storage(found.message(1))), 1)

    def text(self, number: int, depth: int = 0) -> None:
        """Adds a text (``TSWP.StorageArchive``), and what is attached to it behind the paragraph it stands in."""
        if number in self._done or self._objects.kind(number) not in TEXTS:
            return
        self._done.add(number)
        storage = self._objects.get(number)
        styles = _places(storage, _PARAGRAPHS)
        attached = _places(storage, _ATTACHMENTS)
        self._notes += [self._objects.get(mark).reference(1) for _, mark in _places(storage, _FOOTNOTE_MARKS)]
        start, style, next_style = 0, 0, 0
        for line in _units(storage).split("\n"):
            while next_style < len(styles) and styles[next_style][0] <= start:
                style, next_style = styles[next_style][1], next_style + 1
            level = self._level(style)
            self.page.add(BlockKind.HEADING if level else BlockKind.PARAGRAPH, _MARKS.sub("", line), level)
            while attached and attached[0][0] <= start + len(line):
                self.add(attached.pop(0)[1], depth + 1)
            start += len(line) + 1

    def notes(self) -> None:
        """Adds the footnotes of the texts so far."""
        for number in self._notes:
            self.text(number)
        self._notes.clear()

    def _table(self, info: Message) -> None:
        table = Table(self._objects, self._objects.get(info.reference(2)), self._plain)
        self.page.add(BlockKind.HEADING, table.name, 2)
        sheets.add_unplaced(table.rows(), self.page)

    def _plain(self, number: int) -> str:
        if self._objects.kind(number) not in TEXTS:
            return ""
        self._done.add(number)
        return _MARKS.sub("", " ".join(_units(self._objects.get(number)).split()))

    def _level(self, number: int) -> int:
        """Of a paragraph's style the level of heading, 0 if it is none; one without a name is its parent's."""
        for _ in range(_STYLES_FOLLOWED):
            style = self._objects.get(number).message(1)
            if name := style.text(1):
                found = _HEADING.match(name)
                return 0 if not found else 1 if found[1] else min(6, int(found[2] or 2))
            number = style.reference(3)
        return 0


def _storage(shape: Message) -> int:
    return shape.reference(4) or shape.reference(2)


def _units(storage: Message) -> str:
    """A text in which a place is the number of UTF-16 units before it: those of two are followed by a NUL."""
    return _ASTRAL.sub("\\g<0>\0", storage.text(3)).replace("\u2029", "\n")


def _places(storage: Message, field: int) -> list[tuple[int, int]]:
    """(place in the text, object) of a table of the text, in order."""
    return sorted((entry.number(1), entry.reference(2)) for entry in storage.message(field).messages(1))
