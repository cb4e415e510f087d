"""Markup read tag by tag, whatever is broken in it: the texts between the tags. For what stricter parsers refuse."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from datadistiller.model import BlockKind
from datadistiller.parsing import Header, Item, decoding, formats
from datadistiller.parsing.markup.html import convert
from datadistiller.parsing.markup.html import read as read_html
from datadistiller.parsing.pages import PageBuilder

_TOKEN = re.compile(
    r"<!\[CDATA\[(?P<data>.*?)\]\]>|<!--.*?-->|<!DOCTYPE[^>\[]*\[.*?\]\s*>|<[!?][^>]*>|<(?P<end>/?)(?P<name>[A-Za-z_][\w:.-]*)(?P<rest>[^<>]*)>"
    r"|(?P<text>[^<]+)|<",
    re.S,
)
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_:.-]{2,40})", re.I)
#: What is not shown: programs, deleted text, field codes, the older form of a drawing.
_UNSEEN = frozenset(
    ("script", "style", "instrtext", "deltext", "delinstrtext", "movefrom", "fallback", "tracked-changes", "binarydata")
)
#: Elements that do not part what is around them.
_INLINE_NAMES = "a abbr b bold code em ext-link i italic monospace s sc span strong sub sup tt u xref"
_INLINE = frozenset(_INLINE_NAMES.split())
_SPACES = {"tab": "\t", "br": "\n", "cr": "\n", "line-break": "\n", "s": " "}


class Token(NamedTuple):
    """``kind``: "text", or "start" or "end" of an element by its local name in small letters, or "both"."""

    kind: str
    text: str
    rest: str = ""  # what else stands in the tag


def tokens(markup: str) -> Iterator[Token]:
    """What the markup is made of, without comments and declarations. Entities of its own are left as they are."""
    for found in _TOKEN.finditer(markup):
        if name := found["name"]:
            kind = "end" if found["end"] else "both" if found["rest"].endswith("/") else "start"
            yield Token(kind, name.rpartition(":")[2].lower(), found["rest"])
        elif text := found["text"]:
            yield Token("text", html.unescape(text) if "&" in text else text)
        elif data := found["data"]:
            yield Token("text", data)


def texts(markup: str, ends: frozenset[str] | None = None) -> Iterator[str]:
    """The text up to each end of an element in ``ends``, empty ones too; without ``ends`` of all that part text."""
    parts: list[str] = []
    unseen = ""
    for kind, text, _ in tokens(markup):
        if kind == "text":
            if not unseen:
                parts.append(text)
        elif text in ends if ends is not None else text not in _INLINE:
            if kind != "start" or ends is None:
                yield "".join(parts).strip()
                parts, unseen = [], ""
        elif text in _UNSEEN and kind != "both":
            unseen = "" if kind == "end" and text == unseen else unseen or text
        elif text in _SPACES and kind != "end":
            parts.append(_SPACES[text])
    yield "".join(parts).strip()


class PlainXmlParser:
    """Reads the texts in an XML file, valid or not; one block an element."""

    name = "plain xml"
    media_types = (formats.XML,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. The whole file is held in memory."""
        data = path.read_bytes()
        declared = _DECLARED.match(data.lstrip()[:512])
        file = decoding.read(data, declared[1].decode("ascii") if declared else None)
        page = PageBuilder()
        for text in texts(file.text):
            page.add(BlockKind.PARAGRAPH, " ".join(text.split()))
        yield Header(self.name, formats.XML, "", 1, file.encoding)
        yield from file.warnings
        yield page.build(1)


class WholePageParser:
    """Reads all of an HTML page, without looking for its article."""

    name = "html, whole page"
    media_types = (formats.HTML,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. The whole file is held in memory."""
        file = read_html(path.read_bytes())
        title, page = convert(file.text)
        yield Header(self.name, formats.HTML, title, 1, file.encoding)
        yield from file.warnings
        yield page.build(1)
