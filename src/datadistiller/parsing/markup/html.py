"""HTML: the tags become blocks; scripts, styles and what is around the article are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from datadistiller.model import BlockKind, Page, Problem
from datadistiller.parsing import Header, Item, decoding, formats, headers, limits, pages, tables
from datadistiller.parsing.markup import html_article
from datadistiller.parsing.pages import PageBuilder

_UNSHOWN = re.compile(r"<(?:!--|(script|style)\b)", re.I)
_ENDS = {name: re.compile(rf"</{name}\b[^>]{{0,1000}}>", re.I) for name in ("script", "style")}
_COMMENT_END = re.compile(r"--!?>")
_SKIPPED_NAMES = "template svg noscript iframe select button object audio video canvas"
_SKIPPED = frozenset(_SKIPPED_NAMES.split())
#: Read, then taken back when they end, so that an unclosed one costs nothing.
_DROPPED = frozenset(("nav", "footer"))
_BREAK_NAMES = (
    "p div section article header main aside nav footer ul ol menu dl dt dd blockquote figure figcaption address form"
    " fieldset legend hr body html details summary center caption thead tbody tfoot option h1 h2 h3 h4 h5 h6 pre li"
    " table tr td th"
)
_BREAKS = frozenset(_BREAK_NAMES.split())
_HEADINGS = {f"h{n}": n for n in range(1, 7)}
_LISTS = frozenset(("ul", "ol", "menu"))
#: Columns that one cell reaches over, and columns that cells from rows above reach into.
_MOST_SPANNED, _MOST_HANGING = 50, 200
_META = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{2,40})", re.I)
_XML_ENCODING = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_:.-]{2,40})", re.I)


class _Table:
    """A table being read. ``layout`` is set once it turns out to arrange a page rather than data."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.cell = 0  # where in the last row text goes
        self.layout = False
        self.named = 0  # so many rows have no ordinary cell
        self._widths: dict[tuple[int, int], int] = {}
        self._heights: dict[tuple[int, int], int] = {}
        self._hanging: dict[int, int] = {}  # columns that cells from above reach into: in how many rows more

    def open_row(self) -> None:
        """A row begins."""
        self.rows.append([])
        self._hanging = {column: rows - 1 for column, rows in self._hanging.items() if rows > 1}

    def open_cell(self, named: bool, width: int, height: int) -> None:
        """A cell begins, right of the others and of what hangs down; ``named``: it is one of a header."""
        row, at = self.rows[-1], len(self.rows) - 1
        if not row and named and self.named == at:
            self.named += 1
        elif not named:
            self.named = min(self.named, at)
        while len(row) in self._hanging:
            row.append("")
        self.cell = len(row)
        row += [""] * width
        if width > 1:
            self._widths[at, self.cell] = width
        if height > 1 and len(self._hanging) + width <= _MOST_HANGING:
            self._heights[at, self.cell] = height
            self._hanging |= dict.fromkeys(range(self.cell, self.cell + width), height)

    def filled(self) -> list[list[str]]:
        """The rows that hold something."""
        return [row for row in self.rows if any(row)]

    def lines(self) -> Iterator[str]:
        """The table as lines."""
        kept = [at for at, row in enumerate(self.rows) if any(row)]
        numbers = {at: number for number, at in enumerate(kept)}
        widths = {(numbers[at], column): width for (at, column), width in self._widths.items() if at in numbers}
        headers.spread(self.rows, self._heights)
        rows = [self.rows[at] for at in kept]
        named = sum(at < self.named for at in kept)
        return tables.lines(rows, headers.find(rows, widths, named if named < len(rows) else 0))


class _Converter(HTMLParser):
    """Feeds a ``PageBuilder``. Every method tolerates tags in any order: real pages have them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = PageBuilder()
        self.title = ""
        self._text: list[str] = []
        self._items: list[str] = []
        self._tables: list[_Table] = []
        self._lists: list[int] = []  # one per open list: the number of its last item, -1 if it has none
        self._marks: list[tuple[str, int]] = []
        self._skipped = ""
        self._skip_depth = 0
        self._level = 0
        self._preformatted = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipped:
            if tag == self._skipped:
                self._skip_depth += 1
            elif self._skipped not in ("button", "select") or tag not in _BREAKS - {"option"}:
                return
            else:
                self._skipped = ""
        if tag in _SKIPPED:
            self._skipped, self._skip_depth = tag, 1
        elif tag == "br":
            self._text.append("\n")
        elif tag == "title":
            self._in_title = not self.title
        elif tag in _BREAKS:
            self._open(tag, dict(attrs))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _SKIPPED:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            self._skip_depth -= tag == self._skipped
            self._skipped = self._skipped if self._skip_depth else ""
        elif tag == "title":
            self._in_title = False
        elif tag in _BREAKS:
            self._close(tag)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._skipped:
            self._text.append(data if self._preformatted else data.replace("\n", " ").replace("\r", " "))

    def updatepos(self, i: int, j: int) -> int:
        """Line numbers are not needed and cost a tenth of the time."""
        return j

    def finish(self) -> None:
        """Ends what the page left open."""
        self.close()
        self._flush()
        while self._tables:
            self._end_table()
        self._end_list()
        self.title = " ".join(pages.clean(self.title).split())

    def _open(self, tag: str, attrs: dict[str, str | None]) -> None:
        self._flush()
        if tag in _HEADINGS or tag == "table" or tag in _LISTS:
            self._lay_out()
        if tag in _HEADINGS:
            self._end_list()
            self._level = _HEADINGS[tag]
        elif tag in _LISTS and len(self._lists) < limits.MAX_DEPTH:
            self._lists.append(0 if tag == "ol" else -1)
        elif tag == "li" and self._lists and self._lists[-1] >= 0:
            self._lists[-1] += 1
        elif tag == "pre":
            self._preformatted += 1
        elif tag in _DROPPED:
            self._end_list()
            self._marks.append((tag, self.page.mark()))
        elif tag in ("table", "tr", "td", "th"):
            self._open_table_part(tag, attrs)

    def _open_table_part(self, tag: str, attrs: dict[str, str | None]) -> None:
        if tag == "table":
            self._end_list()
            self._tables.append(_Table())
        elif self._tables:
            table = self._tables[-1]
            if tag == "tr" or not table.rows:
                table.open_row()
            if tag != "tr":
                width, height = (_span(attrs.get(name)) for name in ("colspan", "rowspan"))
                table.open_cell(tag == "th", min(width, _MOST_SPANNED), height)

    def _close(self, tag: str) -> None:
        self._flush()
        if tag in _HEADINGS:
            self._level = 0
        elif tag in _LISTS and self._lists:
            self._lists.pop()
            if not self._lists:
                self._end_list()
        elif tag == "pre":
            self._preformatted = max(0, self._preformatted - 1)
        elif tag == "table" and self._tables:
            self._end_table()
        elif tag in _DROPPED and any(name == tag for name, _ in self._marks):
            self._end_list()
            while True:
                name, mark = self._marks.pop()
                if name == tag:
                    break
            self.page.rewind(mark)

    def _lay_out(self) -> None:
        """A table with headings, lists or tables in it arranges the page: its cells become paragraphs."""
        for table in self._tables:
            if not table.layout:
                table.layout = True
                for row in table.rows:
                    for cell in row:
                        self.page.add(BlockKind.PARAGRAPH, cell)
                table.rows = []

    def _flush(self) -> None:
        """Ends the running text and puts it where it belongs."""
        if not self._text:
            return
        text = "".join(self._text)
        self._text = []
        if self._preformatted:
            self._end_list()
            self.page.add(BlockKind.CODE, text)
            return
        text = "\n".join(filter(None, (" ".join(line.split()) for line in text.split("\n"))))
        if text:
            self._place(text)

    def _place(self, text: str) -> None:
        table = self._tables[-1] if self._tables else None
        if self._level:
            self.page.add(BlockKind.HEADING, " ".join(text.split()), self._level)
        elif table and not table.layout and table.rows and table.rows[-1]:
            row = table.rows[-1]
            row[table.cell] = f"{row[table.cell]} {text}".strip()
        elif self._lists:
            number = self._lists[-1]
            indent = "  " * (len(self._lists) - 1)
            self._items.append(f"{indent}{number}. {text}" if number > 0 else f"{indent}- {text}")
        else:
            self._end_list()
            self.page.add(BlockKind.PARAGRAPH, text)

    def _end_list(self) -> None:
        self.page.add(BlockKind.LIST, "\n".join(self._items))
        self._items = []

    def _end_table(self) -> None:
        table = self._tables.pop()
        rows = table.filled()
        if max((sum(1 for cell in row if cell) for row in rows), default=0) < 2:
            for row in rows:
                self.page.add(BlockKind.PARAGRAPH, " ".join(row))
            return
        self.page.add(BlockKind.TABLE, "\n".join(table.lines()))


def _span(said: str | None) -> int:
    """How many columns or rows a cell reaches over; a strange number is 1."""
    return int(said) if said and re.fullmatch("[1-9][0-9]{0,3}", said) else 1


def convert(markup: str) -> tuple[str, PageBuilder]:
    """The title and the contents of HTML, all of them: of mails and books nothing is around an article."""
    return _converted(_shown(markup))


def _converted(shown: str) -> tuple[str, PageBuilder]:
    converter = _Converter()
    converter.feed(shown)
    converter.finish()
    return converter.title, converter.page


def convert_article(markup: str) -> tuple[str, Page, Problem | None]:
    """Title, article, and what is left out around it. A page that is no article is whole."""
    shown = _shown(markup)
    title, builder = _converted(shown)
    whole = builder.build(1)
    blocks = html_article.article(shown, whole)
    if len(blocks) == len(whole.blocks):
        return title, whole, None
    kept = PageBuilder()
    for block in blocks:
        kept.add(block.kind, whole.text[block.start : block.end], block.level)
    page = kept.build(1)
    return title, page, _left_out(html_article.count(whole.text) - html_article.count(page.text))


def _left_out(words: int) -> Problem:
    return Problem(
        "article_only",
        f"Only the article was read. Words of navigation and the like around it that were left out: {words:,}.",
        "If something is missing, copy the text of the page into a Markdown file and upload that.",
    )


def _shown(markup: str) -> str:
    """Leaves out scripts, styles and comments as browsers do, in one pass.

    The library's parser loses the text after an odd end tag, and goes over the rest of the file again for each
    comment or tag that has no end.
    """
    parts = []
    at = 0
    while found := _UNSHOWN.search(markup, at):
        parts.append(markup[at : found.start()])
        # "<!-->" is a comment too: its end may begin with its own dashes
        end = _ENDS[found[1].lower()] if found[1] else _COMMENT_END
        ended = end.search(markup, found.end() if found[1] else found.end() - 2)
        at = ended.end() if ended else len(markup)
    parts.append(markup[at:])
    whole, mark, tail = "".join(parts).rpartition(">")
    return whole + mark + tail.replace("<", "&lt;")


def read(data: bytes, declared: str | None = None) -> decoding.Decoded:
    """The markup in an HTML file: the charset it declares counts, unless the transport (``declared``) knows better."""
    found = _META.search(data[:8192]) or _XML_ENCODING.match(data[:512].lstrip())
    return decoding.read(data, declared or (found[1].decode("ascii") if found else None))


def decode(data: bytes, declared: str | None = None) -> str:
    """The markup alone."""
    return read(data, declared).text


class HtmlParser:
    """Reads HTML and XHTML: the article of a page that has one, else all of it."""

    name = "html"
    media_types = (formats.HTML,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. The whole file is held in memory."""
        file = read(path.read_bytes())
        title, page, left_out = convert_article(file.text)
        yield Header(self.name, formats.HTML, title, 1, file.encoding)
        yield from file.warnings
        if left_out:
            yield left_out
        yield page
