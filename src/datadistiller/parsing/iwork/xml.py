"""iWork documents before 2013: one XML part for all. What it says is found by the names of the elements."""

from __future__ import annotations

import io
import posixpath
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO

from datadistiller import errors
from datadistiller.model import BlockKind, Page
from datadistiller.parsing import limits, sheets
from datadistiller.parsing.packed.archive import Archive, Element, attribute, local, xml_elements
from datadistiller.parsing.pages import PageBuilder

_WHAT = "iWork document"
_PARTS = ("index.apxl", "index.xml", "index.apxl.gz", "index.xml.gz")
#: What is a page of its own: slides, and the sheets of Numbers.
_PAGED = ("slide", "workspace")
#: What is in the file, and not in the document: styles, what slides and sheets are made after, hints to fill in.
_BESIDE = (
    "stylesheet", "theme-list", "section-prototypes", "tabular-prototypes", "prototypes", "master-slides", "metadata",
    "version-history", "slide-number-placeholder", "ghost-text", "proxy-master-layer", "sticky-notes",
)  # fmt: skip
_BREAKS = ("lnbr", "br", "crbr", "pgbr", "sectbr")
_LAST = ("note", "header", "footer")  # kinds of texts that stand at the end
_ROW = 256  # the place of a cell is this times its row, plus its column
_GZIP = 31  # what zlib calls it


class Document:
    """A document that is one XML part. Raises ``errors.DamagedDocument``, ``LimitExceeded``."""

    def __init__(self, archive: Archive) -> None:
        names = {posixpath.basename(name): name for name in reversed(archive.names())}
        part = next((names[name] for name in _PARTS if name in names), None)
        if part is None:
            raise errors.DamagedDocument(f"This is no {_WHAT}: its main part is missing.")
        self._pages = list(_pages(archive, part))
        self.paged = "apxl" in part or any(page.label for page in self._pages)
        self.count = len(self._pages)

    def page(self, number: int) -> Page:
        """A page, from 1."""
        return self._pages[number - 1]


def _pages(archive: Archive, part: str) -> Iterator[Page]:
    """A page per slide or sheet; all of a text. What is used, and what is beside it, is freed on the way."""
    beside = number = 0
    element: Element | None = None
    for event, element in xml_elements(lambda: _opened(archive, part), _WHAT):
        name = local(element)
        if name in _BESIDE:
            beside += 1 if event == "start" else -1
            if event == "end":
                element.clear()
        elif event == "end" and name in _PAGED and not beside:
            number += 1
            yield _page(element, number)
            element.clear()
    if not number and element is not None:
        yield _page(element, 1)


def _opened(archive: Archive, part: str) -> AbstractContextManager[IO[bytes]]:
    if not part.endswith(".gz"):
        return archive.open(part)
    unpacking = zlib.decompressobj(_GZIP)
    try:
        data = unpacking.decompress(archive.read(part), limits.MAX_IWORK_BYTES)
    except zlib.error as error:
        raise errors.DamagedDocument(f"The {_WHAT} is damaged or cut off.") from error
    if unpacking.unconsumed_tail:
        raise errors.LimitExceeded(f"The {_WHAT} expands to more than {limits.MAX_IWORK_BYTES >> 20:,} MiB.")
    return io.BytesIO(data)


def _page(element: Element, number: int) -> Page:
    body = _Body()
    body.walk(element)
    body.end()
    label = attribute(element, "workspace-name") or ""
    return body.page.build(number, " ".join(label.split()))


class _Body:
    """Puts what is in an element on a page, in the order of the file."""

    def __init__(self) -> None:
        self.page = PageBuilder()
        self._apart: dict[str, None] = {}  # notes, headers and footers, each different one once

    def walk(self, element: Element, depth: int = 0, kind: BlockKind = BlockKind.PARAGRAPH) -> None:
        """Adds texts and tables."""
        name = local(element)
        if name in _BESIDE or depth > limits.MAX_DEPTH:
            return
        if name == "text-storage":
            self._text(element, depth, kind)
        elif name == "tabular-model":
            self.page.add(BlockKind.HEADING, attribute(element, "name") or "", 2)
            sheets.add_unplaced(_rows(element), self.page)
        else:
            for child in element:
                self.walk(child, depth + 1, BlockKind.HEADING if name == "title-placeholder" else kind)

    def end(self) -> None:
        """Adds what stands at the end."""
        for text in self._apart:
            self.page.add(BlockKind.PARAGRAPH, text)

    def _text(self, storage: Element, depth: int, kind: BlockKind) -> None:
        """Its paragraphs; then what is attached to it."""
        apart = attribute(storage, "kind") in _LAST
        for child in storage:
            if local(child) != "text-body":
                continue
            for paragraph in _paragraphs(child):
                if apart:
                    self._apart[paragraph] = None
                else:
                    self.page.add(kind, paragraph, int(kind is BlockKind.HEADING))
        for child in storage:
            if local(child) != "text-body":
                self.walk(child, depth + 1)


def _paragraphs(body: Element) -> Iterator[str]:
    return (_words(element) for element in body.iter() if local(element) == "p")


def _words(element: Element) -> str:
    parts: list[str] = []
    for event, part in _around(element):
        if event == "start":
            parts += "\n" if local(part) in _BREAKS else "\t" if local(part) == "tab" else ""
            parts.append(part.text or "")
        else:
            parts.append(part.tail or "")
    return "".join(parts)


def _around(element: Element) -> Iterator[tuple[str, Element]]:
    """("start" or "end", element) of all that is in ``element``, itself begun; no depth is too deep for it."""
    yield "start", element
    open_parts = [(element, iter(element))]
    while open_parts:
        child = next(open_parts[-1][1], None)
        if child is not None:
            yield "start", child
            open_parts.append((child, iter(child)))
            continue
        ended, _ = open_parts.pop()
        if open_parts:
            yield "end", ended


def _rows(model: Element) -> Iterator[list[str]]:
    """The rows of a table; a gap in their numbers is one empty row."""
    source = next((element for element in model.iter() if local(element) == "datasource"), None)
    place, row, cells = -1, 0, list[str]()
    for cell in source if source is not None else ():
        step = attribute(cell, "ct")
        place = max(0, place) + int(step) if step and step.isdecimal() else place + 1
        if place // _ROW != row:
            yield cells
            if place // _ROW > row + 1:
                yield []
            row, cells = place // _ROW, []
        cells += [""] * (place % _ROW - len(cells))
        cells.append(_value(cell))
    yield cells


def _value(cell: Element) -> str:
    """What a cell shows, nearly: its text, its number or date, or what its formula gave."""
    for element in cell.iter():
        if local(element) == "ct":
            return attribute(element, "s") or ""
        if value := attribute(element, "v") or attribute(element, "cell-date"):
            try:
                return f"{float(value):.15g}"
            except ValueError:
                return value
    return " ".join(" ".join(_paragraphs(cell)).split())
