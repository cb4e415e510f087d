"""PowerPoint presentations: a slide is a page; its notes stand at the end of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datadistiller import errors
from datadistiller.model import BlockKind, Page
from datadistiller.parsing import Header, Item, formats, headers, limits, tables
from datadistiller.parsing.office import parts as office
from datadistiller.parsing.packed.archive import Archive, Element, attribute, local
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.passwords import Locked

_WHAT = "PowerPoint presentation"
_TITLES = ("title", "ctrTitle")
_FURNITURE = ("sldNum", "dt", "ftr", "hdr", "sldImg")  # placeholders that are the same on every slide


def _slides(archive: Archive, part: str) -> tuple[list[str], int]:
    """The parts of the slides, in the order they are shown, hidden ones too; and the number on the first."""
    relations = archive.relations(part)
    root = archive.xml(part)
    if root is None:
        return [], 1
    listed = next((element for element in root if local(element) == "sldIdLst"), ())  # sections list them once more
    slides = [relations.get(_relation_id(slide), ("", ""))[1] for slide in listed if local(slide) == "sldId"]
    first = attribute(root, "firstSlideNum") or "1"
    return slides, int(first) if first.isdecimal() and len(first) < 6 else 1


def _relation_id(element: Element) -> str:
    """``r:id``; the plain ``id`` beside it is another number."""
    return next((value for key, value in element.items() if key.endswith("}id")), "")


def _placeholder(shape: Element) -> str:
    """What a shape stands for on its slide ("title", "body"), empty if it is free."""
    found = next((e for e in shape.iter() if local(e) == "ph"), None)
    return "" if found is None else (attribute(found, "type") or "body")


def _shapes(element: Element, depth: int = 0) -> Iterator[Element]:
    """Shapes and frames in drawing order, those in groups too."""
    for child in element:
        name = local(child)
        if name in ("sp", "graphicFrame"):
            yield child
        elif name != "Fallback" and depth < limits.MAX_DEPTH:
            yield from _shapes(child, depth + 1)


def _add_shape(shape: Element, page: PageBuilder) -> None:
    if local(shape) == "graphicFrame":
        for table in (e for e in shape.iter() if local(e) == "tbl"):
            _add_table(table, page)
        return
    placeholder = _placeholder(shape)
    if placeholder in _FURNITURE:
        return
    paragraphs = office.drawing_paragraphs(shape)
    if placeholder in _TITLES:
        page.add(BlockKind.HEADING, " ".join(" ".join(paragraphs).split()), 1)
    elif placeholder and len(paragraphs) > 1:
        page.add(BlockKind.LIST, "\n".join(f"- {' '.join(text.split())}" for text in paragraphs))
    else:
        page.add(BlockKind.PARAGRAPH, "\n".join(paragraphs))


def _add_table(table: Element, page: PageBuilder) -> None:
    rows = [
        ["\n".join(office.drawing_paragraphs(cell)) for cell in row if local(cell) == "tc"]
        for row in table
        if local(row) == "tr"
    ]
    page.add(BlockKind.TABLE, "\n".join(tables.lines(rows, headers.find(rows, _widths(table)))))


def _widths(table: Element) -> dict[tuple[int, int], int]:
    """The cells that reach over several columns; the columns they reach over have empty cells of their own."""
    found = {}
    for at, row in enumerate(element for element in table if local(element) == "tr"):
        for column, cell in enumerate(element for element in row if local(element) == "tc"):
            width = attribute(cell, "gridSpan") or ""
            if width.isdecimal() and int(width[:5]) > 1:
                found[at, column] = int(width[:5])
    return found


def _add_related(archive: Archive, part: str, page: PageBuilder) -> None:
    """Text of charts and diagrams, then the speaker's notes and comments."""
    for text in office.related_texts(archive, part):
        page.add(BlockKind.LIST, text)
    for target in archive.related(part, "notesSlide"):
        root = archive.xml(target)
        for shape in _shapes(root) if root is not None else ():
            if _placeholder(shape) not in _FURNITURE:
                page.add(BlockKind.PARAGRAPH, office.notes("\n".join(office.drawing_paragraphs(shape))))
    for target in archive.related(part, "comments"):
        root = archive.xml(target)
        texts = [e.text or "" for e in root.iter() if local(e) == "text"] if root is not None else []
        texts += office.drawing_paragraphs(root) if root is not None else []  # those of newer programs
        page.add(BlockKind.PARAGRAPH, "\n".join(f"Comment: {text}" for text in texts))


class PptxParser(Locked):
    """Reads PowerPoint presentations (pptx, pptm, shows)."""

    name = "pptx"
    media_types = (formats.PPTX,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per slide. Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``."""
        archive = Archive(path, _WHAT, self._password)
        try:
            part = office.main_part(archive, "ppt/presentation.xml", _WHAT)
            slides, first = _slides(archive, part)
            yield Header(self.name, formats.PPTX, office.title(archive), len(slides))
            yield from archive.unread()
            for number, slide in enumerate(slides[first_page - 1 :], first_page):
                yield self._page(archive, slide, number, office.slide_label(number, first))
        finally:
            archive.close()

    def _page(self, archive: Archive, part: str, number: int, label: str) -> Page:
        try:
            root = archive.xml(part)
            if root is None:
                raise errors.DamagedDocument(f"Slide {number} is missing in the file.")
            page = PageBuilder()
            for shape in sorted(_shapes(root), key=lambda shape: _placeholder(shape) not in _TITLES):
                _add_shape(shape, page)
            _add_related(archive, part, page)
            return page.build(number, label)
        except errors.DamagedDocument as error:
            return Page(number, "", label=label, problem=error.problem())
