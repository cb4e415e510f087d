"""E-books (EPUB): a chapter of the reading order is a page."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, formats
from datadistiller.parsing.markup import html
from datadistiller.parsing.packed.archive import Archive, Element, attribute, local

_WHAT = "e-book"
_READABLE = ("application/xhtml+xml", "text/html", "application/xml", "text/xml", "")
#: Fonts are obscured by these; anything else in encryption.xml is copy protection.
_FONT_OBFUSCATION = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


@dataclass(frozen=True, slots=True)
class _Book:
    title: str
    chapters: tuple[str, ...]  # parts, in reading order


def _package(archive: Archive) -> str:
    """The part that describes the book."""
    root = archive.xml("META-INF/container.xml")
    for element in root.iter() if root is not None else ():
        name = attribute(element, "full-path")
        if local(element) == "rootfile" and name and archive.has(name):
            return name
    found = next((name for name in archive.names() if name.lower().endswith(".opf")), None)
    if found is None:
        raise errors.DamagedDocument("This is no e-book: it does not say what is in it.")
    return found


def _book(archive: Archive) -> _Book:
    package = _package(archive)
    root = archive.xml(package)
    items: dict[str, str] = {}
    chapters: list[str] = []
    title = ""
    for element in root.iter() if root is not None else ():
        name = local(element)
        if name == "item" and (attribute(element, "media-type") or "") in _READABLE:
            items[attribute(element, "id") or ""] = _resolve(package, attribute(element, "href") or "")
        elif name == "itemref" and (attribute(element, "idref") or "") in items:
            chapters.append(items[attribute(element, "idref") or ""])
        elif name == "title" and not title:
            title = " ".join((element.text or "").split())[:300]
    return _Book(title, tuple(chapters or items.values()))


def _resolve(package: str, href: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(href.partition("#")[0])))


def _refuse_protected(archive: Archive) -> None:
    root = archive.xml("META-INF/encryption.xml")
    methods = _methods(root) if root is not None else ()
    if any(method not in _FONT_OBFUSCATION for method in methods):
        raise errors.EncryptedDocument(
            "The e-book is copy-protected.", hint="Only books without copy protection (DRM) can be read."
        )


def _methods(root: Element) -> Iterator[str]:
    """The algorithms of encrypted contents; those of keys inside are not counted."""
    for data in root:
        if local(data) == "EncryptedData":
            yield from (attribute(e, "Algorithm") or "" for e in data if local(e) == "EncryptionMethod")


class EpubParser:
    """Reads e-books without copy protection."""

    name = "epub"
    media_types = (formats.EPUB,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per chapter. Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``."""
        archive = Archive(path, _WHAT)
        try:
            _refuse_protected(archive)
            book = _book(archive)
            yield Header(self.name, formats.EPUB, book.title, len(book.chapters))
            for number, part in enumerate(book.chapters[first_page - 1 :], first_page):
                yield self._page(archive, part, number)
        finally:
            archive.close()

    def _page(self, archive: Archive, part: str, number: int) -> Page:
        try:
            _, page = html.convert(html.decode(archive.read(part)))
            return page.build(number)
        except errors.DamagedDocument:
            return Page(number, "", problem=errors.DamagedDocument(f"Chapter {number} cannot be read.").problem())
