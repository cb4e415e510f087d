"""Office and OpenDocument files by the texts of their parts alone: for those that are cut off, or broken in places."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from datadistiller import errors
from datadistiller.model import BlockKind
from datadistiller.parsing import Header, Item, formats
from datadistiller.parsing.markup.plain import texts, tokens
from datadistiller.parsing.packed.plain_zip import members
from datadistiller.parsing.pages import PageBuilder

#: By media type, the parts that hold text, in the order in which they are read.
_PARTS = {
    formats.DOCX: r"word/(?:document|footnotes|endnotes|comments)\.xml",
    formats.PPTX: r"ppt/slides/slide\d+\.xml",
    formats.XLSX: r"xl/(?:sharedStrings|worksheets/sheet\d+)\.xml",
    formats.ODT: r"content\.xml",
    formats.ODS: r"content\.xml",
    formats.ODP: r"content\.xml",
}
_PARAGRAPHS = frozenset(("p", "h"))
_ROWS = frozenset(("table-row",))
_SHARED = "xl/sharedstrings.xml"
_TYPE = re.compile(r"""\bt\s*=\s*["'](\w+)["']""")


class PlainOfficeParser:
    """Reads the texts of the parts that hold some. Slides and sheets are in the order of their numbers in the file;
    dates of workbooks are numbers."""

    name = "plain office"
    media_types = tuple(_PARTS)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page for each slide or sheet, else one. Raises ``errors.DamagedDocument``, ``LimitExceeded``."""
        wanted = re.compile(_PARTS[media_type], re.I)
        parts = {
            name.lower(): content.decode("utf-8-sig", "replace")
            for name, content in members(path, lambda name: wanted.fullmatch(name) is not None)
            if content[:8].removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<")  # and is not encrypted
        }
        shared = list(texts(parts.pop(_SHARED, ""), frozenset(("si",))))
        if not parts:
            raise errors.DamagedDocument("Nothing is left in the file that could hold text.")
        names = sorted(parts, key=_order)
        several = media_type in (formats.PPTX, formats.XLSX)
        builders = [PageBuilder() for _ in names] if several else [PageBuilder()] * len(names)
        for builder, name in zip(builders, names, strict=True):
            for kind, text in _blocks(parts[name], media_type, shared):
                builder.add(kind, text)
        pages = builders if several else builders[:1]
        yield Header(self.name, media_type, "", len(pages))
        for number, page in enumerate(pages[first_page - 1 :], first_page):
            yield page.build(number)


def _order(name: str) -> tuple[bool, int, str]:
    """The main part first, then by number, then by name."""
    digits = re.search(r"\d+", name)
    return not name.endswith("document.xml"), int(digits[0]) if digits else 0, name


def _blocks(markup: str, media_type: str, shared: Sequence[str]) -> Iterator[tuple[BlockKind, str]]:
    if media_type == formats.XLSX:
        yield BlockKind.TABLE, "\n".join(filter(None, _rows(markup, shared)))
    elif media_type == formats.ODS:
        rows = (texts(row, _PARAGRAPHS) for row in re.split(r"</table:table-row>", markup))
        yield BlockKind.TABLE, "\n".join(filter(None, (" | ".join(filter(None, cells)) for cells in rows)))
    else:
        for text in texts(markup, _PARAGRAPHS):
            yield BlockKind.PARAGRAPH, text


def _rows(markup: str, shared: Sequence[str]) -> Iterator[str]:
    """The rows of a sheet, their values parted by bars."""
    row: list[str] = []
    value: list[str] = []
    kind, inside = "", False
    for token in tokens(markup):
        if token.kind == "text":
            if inside:
                value.append(token.text)
        elif token.text == "c" and token.kind == "start":
            found = _TYPE.search(token.rest)
            kind, value = found[1] if found else "", []
        elif token.text in ("v", "t"):
            inside = token.kind == "start"
        elif token.text == "c":
            row.append(_value("".join(value).strip(), kind, shared))
            value = []
        elif token.text == "row" and token.kind != "start":
            yield " | ".join(filter(None, row))
            row = []
    yield " | ".join(filter(None, row))


def _value(text: str, kind: str, shared: Sequence[str]) -> str:
    if kind != "s":
        return text
    return shared[int(text)] if text.isdecimal() and int(text) < len(shared) else ""
