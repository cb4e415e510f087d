"""Plain text: one page, a paragraph is what stands between empty lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from datadistiller.model import Block, BlockKind, Page
from datadistiller.parsing import Header, Item, decoding, formats, pages


def read_text(path: Path) -> decoding.Decoded:
    """The decoded, cleaned text of a file of any encoding."""
    decoded = decoding.read(path.read_bytes())
    return dataclasses.replace(decoded, text=pages.clean(decoded.text))


def paragraphs(text: str, kind: BlockKind = BlockKind.PARAGRAPH) -> tuple[Block, ...]:
    """The runs of lines that are not empty, white space at their ends left out."""
    blocks: list[Block] = []
    start = end = -1
    at = 0
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped:
            first = at + line.index(stripped)
            start = first if start < 0 else start
            end = first + len(stripped)
        elif start >= 0:
            blocks.append(Block(kind, start, end))
            start = -1
        at += len(line) + 1
    if start >= 0:
        blocks.append(Block(kind, start, end))
    return tuple(blocks)


class TextParser:
    """Reads plain text as it is."""

    name = "text"
    media_types = (formats.TEXT,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. The whole file is held in memory."""
        file = read_text(path)
        yield Header(self.name, formats.TEXT, "", 1, file.encoding)
        yield from file.warnings
        yield Page(1, file.text, paragraphs(file.text))


class CodeParser:
    """Reads the source code of programs as it is."""

    name = "code"
    media_types = (formats.CODE,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. The whole file is held in memory."""
        file = read_text(path)
        yield Header(self.name, formats.CODE, "", 1, file.encoding)
        yield from file.warnings
        yield Page(1, file.text, paragraphs(file.text, BlockKind.CODE))
