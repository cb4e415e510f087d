"""The binary file of PowerPoint 97 to 2003 ([MS-PPT]): its records, and where its slides are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from datadistiller import errors
from datadistiller.parsing import limits, passwords
from datadistiller.parsing.office.ole import Container, u16, u32

DOCUMENT, SLIDE, NOTES, NOTES_ATOM = 1000, 1006, 1008, 1009
SLIDE_PERSIST, TEXT_HEADER, TEXT_REF, WIDE, NARROW = 1011, 3999, 3998, 4000, 4008
CSTRING, COMMENT, TEXTBOX = 4026, 12000, 0xF00D
_DOCUMENT_ATOM, _LISTS, _USER_EDIT, _PERSISTS = 1001, 4080, 4085, 6002
_ENCRYPTED = 0xF3D1_C4DF
_TAG_DATA = 5003  # an atom by its number that holds records
_MAX_EDITS = 10_000
_MAX_PERSISTS = 1_000_000  # entries read, all saves together


@dataclass(frozen=True, slots=True)
class Record:
    """One record; a container holds others."""

    kind: int
    instance: int
    container: bool
    start: int  # of its body
    end: int


@dataclass(slots=True)
class Outline:
    """A slide as the document's outline lists it: its number and persist reference, its (kind, text) pieces."""

    identity: int
    reference: int
    texts: list[tuple[int, str]] = field(default_factory=list)


class PptFile:
    """A presentation's records."""

    def __init__(self, container: Container) -> None:
        self.data = container.read("PowerPoint Document")
        user = container.read("Current User")
        if not self.data:
            raise errors.DamagedDocument("This is no PowerPoint presentation: its main part is missing.")
        self._persists: dict[int, int] = {}
        self._entries = 0
        edit = u32(user, 16)
        reference = self._read_edits(edit)
        if u32(user, 12) == _ENCRYPTED or self._encrypted(edit):
            raise passwords.locked("PowerPoint presentation")
        self._document = self.saved(reference, DOCUMENT) or next(
            (r for r in self.records(0, len(self.data)) if r.kind == DOCUMENT), None
        )

    def records(self, start: int, end: int) -> Iterator[Record]:
        """The records between two bytes, in order; a length that leads beyond the end is cut."""
        while start + 8 <= end:
            head = u16(self.data, start)
            stop = min(start + 8 + u32(self.data, start + 4), end)
            kind = u16(self.data, start + 2)
            yield Record(kind, head >> 4, head & 15 == 15 or kind == _TAG_DATA, start + 8, stop)
            start = stop

    def walk(self, record: Record, depth: int = 0) -> Iterator[Record]:
        """Everything in a record, in order; a record found before what is in it."""
        for child in self.records(record.start, record.end):
            yield child
            if child.container and depth < limits.MAX_DEPTH and child.kind not in (TEXTBOX, COMMENT):
                yield from self.walk(child, depth + 1)

    def saved(self, reference: int, kind: int) -> Record | None:
        """The record of that kind which a persist reference leads to."""
        at = self._persists.get(reference)
        found = next(self.records(at, len(self.data)), None) if at is not None else None
        return found if found is not None and found.kind == kind else None

    def outline(self, instance: int) -> list[Outline]:
        """The slides (0), masters (1) or notes (2), in order."""
        found: list[Outline] = []
        lists = self.records(self._document.start, self._document.end) if self._document else ()
        for listed in (r for r in lists if r.kind == _LISTS and r.instance == instance):
            kind = 4
            for record in self.records(listed.start, listed.end):
                if record.kind == SLIDE_PERSIST:
                    found.append(Outline(u32(self.data, record.start + 12), u32(self.data, record.start)))
                elif record.kind == TEXT_HEADER:
                    kind = u32(self.data, record.start)
                elif record.kind in (WIDE, NARROW) and found:
                    found[-1].texts.append((kind, self.text(record)))
        return found

    def first_number(self) -> int:
        """The number on the first slide, as the document says."""
        inside = self.records(self._document.start, self._document.end) if self._document else ()
        atom = next((record for record in inside if record.kind == _DOCUMENT_ATOM), None)
        return u16(self.data, atom.start + 32) if atom is not None and atom.end - atom.start >= 34 else 1

    def text(self, record: Record) -> str:
        """The characters of a text record, paragraphs and lines apart by line ends."""
        raw = self.data[record.start : record.end]
        text = raw.decode("latin-1") if record.kind == NARROW else raw.decode("utf-16-le", "replace")
        return text.replace("\r", "\n").replace("\v", "\n").replace("\xad", "").strip("\n\0 ")

    def _read_edits(self, edit: int) -> int:
        """Follows the saves from the last one back; returns the reference of the document."""
        document = 0
        seen: set[int] = set()
        while edit and edit not in seen and len(seen) < _MAX_EDITS:
            seen.add(edit)
            if u16(self.data, edit + 2) != _USER_EDIT:
                break
            document = document or u32(self.data, edit + 8 + 16)
            self._read_persists(u32(self.data, edit + 8 + 12))
            edit = u32(self.data, edit + 8 + 8)
        return document

    def _read_persists(self, at: int) -> None:
        if u16(self.data, at + 2) != _PERSISTS:
            return
        end = min(at + 8 + u32(self.data, at + 4), len(self.data))
        at += 8
        while at + 4 <= end:
            entry = u32(self.data, at)
            at += 4
            self._entries += 1 + (entry >> 20)
            if self._entries > _MAX_PERSISTS:
                raise errors.DamagedDocument("The PowerPoint presentation is damaged: it lists too many parts.")
            for i in range(min(entry >> 20, (end - at) // 4)):
                # later saves are read first and win
                self._persists.setdefault((entry & 0xF_FFFF) + i, u32(self.data, at + 4 * i))
            at += 4 * (entry >> 20)

    def _encrypted(self, edit: int) -> bool:
        """The record of an encrypted save is longer: it refers to the keys."""
        return (
            u16(self.data, edit + 2) == _USER_EDIT
            and u32(self.data, edit + 4) >= 0x20
            and bool(u32(self.data, edit + 8 + 28))
        )
