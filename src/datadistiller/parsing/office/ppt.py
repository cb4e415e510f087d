"""PowerPoint 97-2003 presentations: a slide is a page; its notes stand at the end of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from datadistiller.model import BlockKind, Page
from datadistiller.parsing import Header, Item, formats
from datadistiller.parsing.office import ole, ppt_file
from datadistiller.parsing.office import parts as office
from datadistiller.parsing.office.ppt_file import Outline, PptFile, Record
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.passwords import Locked

_WHAT = "PowerPoint presentation"
_TITLES = (0, 6)  # kinds of text
_BODIES = (1, 5, 7, 8)
_NOTES = 2
_NO_TITLE = re.compile(r"PowerPoint Presentation$|Slide \d+$")  # what the program writes where nobody gave one
_OTHER = 4


class _Slides:
    """The slides of a file, and the notes that belong to each."""

    def __init__(self, file: PptFile) -> None:
        self._file = file
        self.slides = file.outline(0)
        self._notes = dict(self._read_notes())

    def page(self, number: int) -> Page:
        """A slide, from 1."""
        slide = self.slides[number - 1]
        page = PageBuilder()
        record = self._file.saved(slide.reference, ppt_file.SLIDE)
        texts = self._texts(record, slide) if record else slide.texts
        for kind, text in sorted(texts, key=lambda text: text[0] not in _TITLES):
            _add(kind, text, page)
        for text in self._notes.get(slide.identity, ()):
            page.add(BlockKind.PARAGRAPH, office.notes(text))
        for text in self._comments(record) if record else ():
            page.add(BlockKind.PARAGRAPH, f"Comment: {text}")
        return page.build(number, office.slide_label(number, self._file.first_number()))

    def _read_notes(self) -> Iterator[tuple[int, list[str]]]:
        """(number of a slide, its notes)."""
        for outline in self._file.outline(2):
            record = self._file.saved(outline.reference, ppt_file.NOTES)
            if record is None:
                continue
            atom = next((r for r in self._file.walk(record) if r.kind == ppt_file.NOTES_ATOM), None)
            if atom is not None:
                texts = [text for kind, text in self._texts(record, outline) if kind == _NOTES]
                yield ole.u32(self._file.data, atom.start), texts

    def _texts(self, record: Record, outline: Outline) -> list[tuple[int, str]]:
        """The texts in a slide's shapes in drawing order, then those of the outline that no shape shows."""
        found: list[tuple[int, str]] = []
        shown: set[int] = set()
        for box in self._file.walk(record):
            if box.kind == ppt_file.TEXTBOX:
                found += self._box(box, outline, shown)
        return found + [text for i, text in enumerate(outline.texts) if i not in shown]

    def _box(self, box: Record, outline: Outline, shown: set[int]) -> Iterator[tuple[int, str]]:
        kind = _OTHER
        for record in self._file.records(box.start, box.end):
            if record.kind == ppt_file.TEXT_HEADER:
                kind = ole.u32(self._file.data, record.start)
            elif record.kind in (ppt_file.WIDE, ppt_file.NARROW):
                yield kind, self._file.text(record)
            elif record.kind == ppt_file.TEXT_REF:
                index = ole.u32(self._file.data, record.start)
                if index < len(outline.texts) and index not in shown:
                    shown.add(index)
                    yield outline.texts[index]

    def _comments(self, record: Record) -> Iterator[str]:
        for comment in self._file.walk(record):
            if comment.kind == ppt_file.COMMENT:
                for text in self._file.records(comment.start, comment.end):
                    if text.kind == ppt_file.CSTRING and text.instance == 1:
                        yield self._file.text(text)


def _add(kind: int, text: str, page: PageBuilder) -> None:
    if text.strip() == "*":  # where PowerPoint puts the number of the slide
        return
    lines = [line for line in text.split("\n") if line.strip()]
    if kind in _TITLES:
        page.add(BlockKind.HEADING, " ".join(text.split()), 1)
    elif kind in _BODIES and len(lines) > 1:
        page.add(BlockKind.LIST, "\n".join(f"- {' '.join(line.split())}" for line in lines))
    else:
        page.add(BlockKind.PARAGRAPH, "\n".join(lines))


class PptParser(Locked):
    """Reads PowerPoint presentations of the time before pptx."""

    name = "ppt"
    media_types = (formats.PPT,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per slide. Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``."""
        container = ole.Container(path, _WHAT, self._password)
        try:
            slides = _Slides(PptFile(container))
            title = "" if _NO_TITLE.match(container.title()) else container.title()
            yield Header(self.name, formats.PPT, title, len(slides.slides))
            for number in range(first_page, len(slides.slides) + 1):
                yield slides.page(number)
        finally:
            container.close()
