"""Markdown: blocks by line, marks taken off, so that a citation reads as the rendered page does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from datadistiller.model import BlockKind
from datadistiller.parsing import Header, Item, formats, headers, tables
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.text import read_text

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)(.*)")
_CLOSING_MARKS = re.compile(r"[ \t]#+[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\S")
_QUOTE = re.compile(r"(?: {0,3}> ?)+")
_TABLE_RULE = re.compile(r"[ \t]*+\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+$")
_CELL_END = re.compile(r"(?<!\\)\|")
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.S)
_IMAGE = re.compile(r"!\[([^\]\n]{0,500})\]\([^()\s]{0,2000}(?:\s[^()\n]{0,500})?\)")
_LINK = re.compile(r"\[([^\[\]\n]{1,500})\]\([^()\s]{0,2000}(?:\s[^()\n]{0,500})?\)")
_REFERENCE_LINK = re.compile(r"\[([^\[\]\n]{1,500})\]\[[^\]\n]{0,200}\]")
_REFERENCE = re.compile(r" {0,3}\[[^\]\n]{1,200}\]:[ \t]+\S+")
_STRONG = re.compile(r"(\*\*|__)(?=\S)([^\n]{1,1000}?)(?<=\S)\1")
_EMPHASIS = re.compile(
    r"(?<![\w*])\*(?=\S)([^*\n]{1,500})(?<=\S)\*(?![\w*])|(?<!\w)_(?=\S)([^_\n]{1,500})(?<=\S)_(?!\w)"
)
_TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9-]{0,20}(?:\s[^<>]{0,2000})?/?>")
_CODE_SPAN = re.compile(r"((?<!`)`++[^`\n]++`++)")
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>~])")
_TITLE = re.compile(r"^title:[ \t]*[\"']?(.{1,300}?)[\"']?[ \t]*$", re.M)


def inline(text: str) -> str:
    """``text`` without the marks of links, pictures, emphasis and HTML; code spans keep their contents."""
    parts = _CODE_SPAN.split(text)
    for i in range(0, len(parts), 2):
        part = _IMAGE.sub(r"\1", parts[i])
        part = _REFERENCE_LINK.sub(r"\1", _LINK.sub(r"\1", part))
        part = _STRONG.sub(r"\2", part)
        part = _EMPHASIS.sub(lambda m: m[1] or m[2], part)
        parts[i] = _ESCAPE.sub(r"\1", _TAG.sub("", part))
    for i in range(1, len(parts), 2):
        parts[i] = parts[i].strip("`").strip()
    return "".join(parts)


class _Scanner:
    """Cuts the lines of one file into blocks."""

    def __init__(self, text: str) -> None:
        self.page = PageBuilder()
        self.title = ""
        self._kind = BlockKind.PARAGRAPH
        self._lines: list[str] = []
        self._fence = ""
        self._scan(self._without_front_matter(text).split("\n"))

    def _without_front_matter(self, text: str) -> str:
        end = text.find("\n---\n", 3, 20_000) if text.startswith("---\n") else -1
        if end < 0:
            return text
        found = _TITLE.search(text, 4, end)
        self.title = found[1] if found else ""
        return text[end + 5 :]

    def _scan(self, lines: list[str]) -> None:
        for i, line in enumerate(lines):
            if self._fence:
                self._in_fence(line)
            else:
                self._line(line, lines[i + 1] if i + 1 < len(lines) else "")
        self._flush()

    def _in_fence(self, line: str) -> None:
        if line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0]):
            self._flush()
            self._fence = ""
        else:
            self._lines.append(line)

    def _line(self, line: str, following: str) -> None:
        fence = _FENCE.match(line)
        heading = _HEADING.match(line)
        underline = _UNDERLINE.match(line) if self._lines and self._kind is BlockKind.PARAGRAPH else None
        if fence:
            self._start(BlockKind.CODE)
            self._fence = fence[1]
        elif heading:
            self._heading(_CLOSING_MARKS.sub("", heading[2]), len(heading[1]))
        elif underline:
            text, self._lines = " ".join(part.strip() for part in self._lines), []
            self._heading(text, 1 if underline[1][0] == "=" else 2)
        elif not line.strip() or _RULE.match(line) or _REFERENCE.match(line):
            self._flush()
        else:
            self._text(line, following)

    def _text(self, line: str, following: str) -> None:
        if self._kind is BlockKind.CODE and self._lines and not line.startswith(("    ", "\t")):
            self._flush()
        if "|" in line and self._kind is not BlockKind.TABLE and "|" in following and _TABLE_RULE.match(following):
            self._start(BlockKind.TABLE)
        elif self._kind is BlockKind.TABLE and "|" not in line:
            self._flush()
        elif not self._lines and line.startswith(("    ", "\t")) and not _ITEM.match(line):
            self._start(BlockKind.CODE)
        elif self._kind is BlockKind.PARAGRAPH and _ITEM.match(line):
            self._start(BlockKind.LIST)
        if self._kind is BlockKind.TABLE and _TABLE_RULE.match(line) and len(self._lines) == 1:
            return
        quote = _QUOTE.match(line)
        self._lines.append(line[quote.end() :] if quote and self._kind is not BlockKind.CODE else line)

    def _start(self, kind: BlockKind) -> None:
        self._flush()
        self._kind = kind

    def _heading(self, text: str, level: int) -> None:
        self._flush()
        text = inline(text).strip()
        self.title = self.title or (text if level == 1 else "")
        self.page.add(BlockKind.HEADING, text, level)

    def _flush(self) -> None:
        text = "\n".join(self._lines)
        if self._kind is BlockKind.CODE:
            self.page.add(self._kind, text)
        elif self._kind is BlockKind.TABLE:
            rows = [_cells(line) for line in self._lines]
            self.page.add(
                self._kind, "\n".join(tables.lines(rows, headers.Names(headers.flat(rows[0])) if rows else None))
            )
        elif self._lines:
            self.page.add(self._kind, inline(text))
        self._lines, self._kind = [], BlockKind.PARAGRAPH


def _cells(line: str) -> list[str]:
    """The cells of a row; a bar after a backslash parts none."""
    row = line.strip().removeprefix("|")
    if not row.endswith("\\|"):
        row = row.removesuffix("|")
    return [inline(cell).strip() for cell in _CELL_END.split(row)]


class MarkdownParser:
    """Reads Markdown; headings, lists, tables and code become blocks of their kind."""

    name = "markdown"
    media_types = (formats.MARKDOWN,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. The whole file is held in memory."""
        file = read_text(path)
        scanner = _Scanner(_COMMENT.sub("", file.text))
        yield Header(self.name, formats.MARKDOWN, scanner.title, 1, file.encoding)
        yield from file.warnings
        yield scanner.page.build(1)
