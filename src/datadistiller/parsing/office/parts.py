"""What Word, PowerPoint and Excel files have in common: the main part, the title, drawing text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from datadistiller import errors
from datadistiller.parsing.packed.archive import Archive, Element, local

_MAIN = "officeDocument"

#: The day that is zero in a workbook, usually and where it says so.
DAY_ZERO = datetime(1899, 12, 30)
DAY_ZERO_MAC = datetime(1904, 1, 1)


def main_part(archive: Archive, usual: str, what: str) -> str:
    """The name of the part everything hangs on. Raises ``errors.DamagedDocument`` if it is none of this kind."""
    for kind, target in archive.relations("").values():
        if kind == _MAIN and archive.has(target):
            return target
    if archive.has(usual):
        return usual
    raise errors.DamagedDocument(f"This is no {what}: its main part is missing.")


def title(archive: Archive) -> str:
    """The title in the document's properties, empty if there is none."""
    root = archive.xml("docProps/core.xml")
    found = next((e.text for e in root if local(e) == "title" and e.text), "") if root is not None else ""
    return " ".join((found or "").split())[:300]


def date(days: float, zero: datetime) -> str:
    """A date or a time of day as workbooks keep it, empty if it can be none."""
    if not 0 <= days < 2_958_466:  # the year 10000
        return ""
    moment = zero + timedelta(seconds=round(days * 86_400))
    if days < 1:
        return moment.strftime("%H:%M:%S")
    return moment.strftime("%Y-%m-%d" if moment.time() == moment.min.time() else "%Y-%m-%d %H:%M:%S")


def drawing_paragraphs(element: Element) -> list[str]:
    """The paragraphs of DrawingML text (a:p) in ``element``, in document order, empty ones left out."""
    found = []
    for paragraph in element.iter():
        if local(paragraph) == "p":
            text = drawing_text(paragraph)
            if text.strip():
                found.append(text)
    return found


def drawing_text(paragraph: Element) -> str:
    """The text of one DrawingML paragraph, line breaks kept."""
    parts = []
    for element in paragraph.iter():
        name = local(element)
        if name == "t":
            parts.append(element.text or "")
        elif name == "br":
            parts.append("\n")
    return "".join(parts)


def slide_label(number: int, first: int) -> str:
    """What a person calls a slide, from 1, if the first one has another number; else empty."""
    return str(number + first - 1) if first != 1 else ""


def notes(text: str) -> str:
    """A speaker's notes as they stand on the page of their slide: named, since they are not on the slide."""
    return f"Notes: {text.strip()}" if text.strip() else ""


def related_texts(archive: Archive, part: str) -> Iterator[str]:
    """The texts of charts and diagrams that ``part`` shows: titles, series and categories; no numbers."""
    for target in archive.related(part, "diagramData"):
        root = archive.xml(target)
        if root is not None:
            yield "\n".join(drawing_paragraphs(root))
    for target in archive.related(part, "chart"):
        root = archive.xml(target)
        if root is not None:
            yield "\n".join([*drawing_paragraphs(root), *_chart_names(root)])


def _chart_names(root: Element) -> list[str]:
    """Names of series and categories, each once."""
    names: dict[str, None] = {}
    for element in root.iter():
        if local(element) == "strCache":
            names |= dict.fromkeys(e.text for e in element.iter() if local(e) == "v" and e.text)
    return list(names)
