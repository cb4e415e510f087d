"""OpenDocument presentations: a slide is a page; its notes stand at the end of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datadistiller.model import BlockKind, Page
from datadistiller.parsing import Header, Item, formats, limits
from datadistiller.parsing.office import odf
from datadistiller.parsing.office import parts as office
from datadistiller.parsing.packed.archive import Element, attribute, local
from datadistiller.parsing.passwords import Locked

_FURNITURE = ("page-number", "date-time", "footer", "header", "page")  # the same on every slide


def _slides(package: odf.Package) -> Iterator[Element]:
    return (element for element in package.children("presentation") if local(element) == "page")


def _add(shape: Element, body: odf.Body, depth: int = 0) -> None:
    """Adds a shape of a slide, or what is in a group of them."""
    kind = attribute(shape, "class") or ""
    if kind in _FURNITURE or depth > limits.MAX_DEPTH:
        return
    if kind == "title":
        body.heading(odf.cell_text(shape), 1)
    elif kind == "notes":
        body.end_list()
        body.page.add(BlockKind.PARAGRAPH, office.notes(odf.cell_text(shape)))
    elif local(shape) in ("g", "notes"):
        for child in shape:
            _add(child, body, depth + 1)
    else:
        body.add(shape)


def _rank(shape: Element) -> int:
    """The title first, the notes last, the others as they are drawn."""
    return 0 if attribute(shape, "class") == "title" else 2 if local(shape) == "notes" else 1


def _page(slide: Element, package: odf.Package, number: int) -> Page:
    body = odf.Body(package)
    for shape in sorted(slide, key=_rank):
        _add(shape, body)
    body.end()
    return body.page.build(number)


class OdpParser(Locked):
    """Reads OpenDocument presentations (odp, templates, flat files)."""

    name = "odp"
    media_types = (formats.ODP,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per slide. Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``."""
        package = odf.Package(path, "OpenDocument presentation", self._password)
        try:
            yield Header(self.name, formats.ODP, package.title(), sum(1 for _ in _slides(package)))
            yield from package.unread()
            for number, slide in enumerate(_slides(package), 1):
                if number >= first_page:
                    yield _page(slide, package, number)
        finally:
            package.close()
