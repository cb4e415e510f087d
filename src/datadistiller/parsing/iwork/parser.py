"""iWork documents (Pages, Numbers, Keynote): those since 2013 are objects, those before are XML."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, formats, limits
from datadistiller.parsing.iwork import iwa
from datadistiller.parsing.iwork import xml as iwork_xml
from datadistiller.parsing.iwork.iwa import Objects
from datadistiller.parsing.iwork.objects import SHAPES, TABLES, TEXTS, Body
from datadistiller.parsing.packed.archive import Archive

_WHAT = "iWork document"
#: Types of objects: the root of Pages and of the others, sheets, sheets that are forms, nodes of slides.
_TEXT_DOCUMENT, _DOCUMENT, _SHEET, _FORM, _SLIDE_NODE = 10000, 1, 2, 3, 4
_HEADER_TEXT = 1  # the kind of texts that are headers or footers
_LOCKED = (".iwpv2", ".iwph")  # lie beside the text of those with a password: its check, its hint
_LOCKED_METHOD = 0x636B  # how those before 2013 are packed


class IworkParser:
    """Reads the documents of Pages (one page), Numbers (a page per sheet) and Keynote (a page per slide)."""

    name = "iwork"
    media_types = (formats.PAGES, formats.NUMBERS, formats.KEYNOTE)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``."""
        archive = Archive(path, _WHAT)
        try:
            _refuse_locked(archive)
            files = iwa.files(archive)
            document = _Document(Objects(files)) if files else iwork_xml.Document(archive)
            yield Header(self.name, media_type, "", document.count)
            yield from archive.unread()
            for number in range(first_page if document.paged else 1, document.count + 1):
                yield _page(document, number)
        finally:
            archive.close()


def _page(document: _Document | iwork_xml.Document, number: int) -> Page:
    try:
        return document.page(number)
    except errors.DamagedDocument as error:
        return Page(number, "", problem=error.problem())


def _refuse_locked(archive: Archive) -> None:
    names = {posixpath.basename(name) for name in archive.names()}
    if not names.isdisjoint(_LOCKED) or archive.packed_by(_LOCKED_METHOD):
        raise errors.EncryptedDocument(
            f"The {_WHAT} is protected by a password.",
            hint="Open it in its program, take the password off or export it as PDF, and upload that.",
        )


class _Document:
    """A document that is made of objects."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._text = next(iter(objects.of((_TEXT_DOCUMENT,))), 0)
        self._parts = [] if self._text else self._slides() or self._sheets()
        self.paged = not self._text
        self.count = len(self._parts) if self.paged else 1
        if not self.count:
            raise errors.DamagedDocument(f"This is no {_WHAT}: its main part is missing.")

    def page(self, number: int) -> Page:
        """The text, or a slide or sheet, from 1."""
        body = Body(self._objects)
        if self._text:
            label = self._whole(body)
        elif self._objects.kind(self._parts[number - 1]) == _SLIDE_NODE:
            label = self._slide(body, self._objects.get(self._parts[number - 1]).reference(2))
        else:
            label = self._sheet(body, self._parts[number - 1])
        body.notes()
        return body.page.build(number, label)

    def _whole(self, body: Body) -> str:
        """The body, then what is placed freely, then headers and footers."""
        body.text(self._objects.get(self._text).reference(4))
        for number in self._objects.of((*SHAPES, *TABLES), "Document"):
            body.add(number)
        body.notes()
        for number in self._objects.of(TEXTS, "Document"):
            if self._objects.get(number).number(1) == _HEADER_TEXT:
                body.text(number)
        return ""

    def _slides(self) -> list[int]:
        """The nodes of the slides in their order, those that are skipped too."""
        for root in self._objects.of((_DOCUMENT,)):
            tree = self._objects.get(self._objects.get(root).reference(2)).message(3)
            slides = tree.references(2) or self._below(tree.reference(1), 0)
            if slides := [node for node in slides if self._objects.kind(node) == _SLIDE_NODE]:
                return slides
        return []

    def _below(self, node: int, depth: int) -> list[int]:
        """The nodes of a tree, as the first versions have it."""
        if depth > limits.MAX_DEPTH:
            return []
        children = self._objects.get(node).references(1)
        return [found for child in children for found in (child, *self._below(child, depth + 1))]

    def _slide(self, body: Body, number: int) -> str:
        """Title, body, then the others as they are drawn; the notes stand at the end."""
        slide = self._objects.get(number)
        body.title(slide.reference(5))
        for shape in (slide.reference(6), slide.reference(30), *slide.references(7), *slide.references(42)):
            if shape != slide.reference(20):  # the number of the slide
                body.add(shape)
        body.text(self._objects.get(slide.reference(27)).reference(1))
        return ""

    def _sheets(self) -> list[int]:
        roots = self._objects.of((_DOCUMENT,))
        found = [sheet for root in roots for sheet in self._objects.get(root).references(1)]
        return [sheet for sheet in found if self._objects.kind(sheet) in (_SHEET, _FORM)]

    def _sheet(self, body: Body, number: int) -> str:
        sheet = self._objects.get(number)
        if self._objects.kind(number) == _FORM:
            sheet = sheet.message(1)
        for drawn in sheet.references(2):
            body.add(drawn)
        return " ".join(sheet.text(1).split())
