"""XPS documents: glyphs with their text and place, page by page. Sources: ECMA-388, Open XML Paper Specification."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, formats, limits
from datadistiller.parsing.office import parts as office
from datadistiller.parsing.packed.archive import Archive, Element, attribute, local
from datadistiller.parsing.pictures import ocr_layout
from datadistiller.parsing.pictures.ocr_layout import Piece

_WHAT = "XPS document"
_POINT = 0.75  # of an inch, in units of a page: 96 an inch
_USUAL_ADVANCE = 55.0  # of a glyph, in hundredths of its size, where nothing is said; fonts are not looked at
_ASCENT, _DESCENT = 0.8, 0.2  # above and below the base line, in sizes
_NUMBERS = re.compile(r"[-+0-9.eE]+")

#: How places are changed: x' = a x + c y + e, y' = b x + d y + f.
Matrix = tuple[float, float, float, float, float, float]
_AS_IT_IS: Matrix = (1, 0, 0, 1, 0, 0)


class XpsParser:
    """Reads XPS and OpenXPS documents."""

    name = "xps"
    media_types = (formats.XPS,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page each. Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``."""
        archive = Archive(path, _WHAT)
        try:
            parts = list(_pages(archive))
            if not parts:
                raise errors.DamagedDocument(f"This is no {_WHAT}: its pages are missing.")
            yield Header(self.name, formats.XPS, office.title(archive), len(parts))
            yield from archive.unread()
            for number in range(first_page, len(parts) + 1):
                yield _page(archive, parts[number - 1], number)
        finally:
            archive.close()


def _pages(archive: Archive) -> Iterator[str]:
    """The parts of the pages, in order: a sequence names documents, which name pages."""
    relations = archive.relations("").values()
    start = [target for kind, target in relations if kind.lower() == "fixedrepresentation" and archive.has(target)]
    start = start or [name for name in archive.names() if name.lower().endswith(".fdseq")]
    for document in _named(archive, start[:1], "DocumentReference"):
        yield from _named(archive, [document], "PageContent")


def _named(archive: Archive, parts: list[str], element: str) -> Iterator[str]:
    for part in parts:
        root = archive.xml(part)
        for found in root.iter() if root is not None else ():
            if local(found) == element and (source := unquote(attribute(found, "Source") or "")):
                yield posixpath.normpath(posixpath.join("/" + posixpath.dirname(part), source)).lstrip("/")


def _page(archive: Archive, part: str, number: int) -> Page:
    try:
        root = archive.xml(part)
    except errors.DamagedDocument as error:
        return Page(number, "", problem=error.problem())
    if root is None:
        return Page(number, "", problem=errors.DamagedDocument(f"Page {number} of the {_WHAT} is missing.").problem())
    size = _number(root, "Width") * _POINT, _number(root, "Height") * _POINT
    page = ocr_layout.page(number, "", list(_pieces(root, _AS_IT_IS, 0)), size, _POINT)
    return replace(page, recognised=False)


def _pieces(element: Element, outer: Matrix, depth: int) -> Iterator[Piece]:
    """The texts in an element, with their places on the page."""
    if depth > limits.MAX_DEPTH:
        return
    matrix = _within(outer, _transform(element))
    if local(element) == "Glyphs":
        if piece := _piece(element, matrix):
            yield piece
        return
    for child in element:
        if "." not in local(child):  # resources and the like are no contents
            yield from _pieces(child, matrix, depth + 1)


def _piece(glyphs: Element, matrix: Matrix) -> Piece | None:
    text = (attribute(glyphs, "UnicodeString") or "").removeprefix("{}")
    size = _number(glyphs, "FontRenderingEmSize")
    if not text.strip() or size <= 0:
        return None
    left, base = _number(glyphs, "OriginX"), _number(glyphs, "OriginY")
    width = _advance(attribute(glyphs, "Indices") or "", len(text.rstrip())) * size / 100
    a, b, c, d, e, f = matrix
    corners = [
        (a * x + c * y + e, b * x + d * y + f)
        for x in (left, left + width)
        for y in (base - _ASCENT * size, base + _DESCENT * size)
    ]
    place = (
        min(x for x, _ in corners), min(y for _, y in corners), max(x for x, _ in corners), max(y for _, y in corners),
    )  # fmt: skip
    return Piece(text, place, place)


def _advance(indices: str, count: int) -> float:
    """How far ``count`` characters go, in hundredths of their size: "glyph,advance" each, much of it left out."""
    given = [entry.split(",") for entry in indices.split(";")[:count]]
    widths = [_USUAL_ADVANCE if len(entry) < 2 else _float(entry[1], _USUAL_ADVANCE) for entry in given]
    return sum(widths) + _USUAL_ADVANCE * (count - len(widths))


def _transform(element: Element) -> Matrix:
    """The element's own transformation: an attribute, or a property below it."""
    said = attribute(element, "RenderTransform")
    if said is None:
        for child in element:
            if local(child).endswith(".RenderTransform"):
                said = next((found for e in child.iter() if (found := attribute(e, "Matrix"))), None)
    numbers = [_float(found, 0) for found in _NUMBERS.findall(said or "")]
    return tuple(numbers) if len(numbers) == 6 else _AS_IT_IS  # type: ignore[return-value]


def _within(outer: Matrix, inner: Matrix) -> Matrix:
    (a, b, c, d, e, f), (i, j, k, m, x, y) = outer, inner
    return (a * i + c * j, b * i + d * j, a * k + c * m, b * k + d * m, a * x + c * y + e, b * x + d * y + f)


def _number(element: Element, name: str) -> float:
    return _float(attribute(element, name) or "", 0)


def _float(text: str, default: float) -> float:
    """A number of a sane size."""
    try:
        value = float(text)
    except ValueError:
        return default
    return value if abs(value) < 1e6 else default
