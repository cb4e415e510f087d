"""XML of any vocabulary: texts and tables by the shape of the elements, data as ``element: value`` lines."""

from __future__ import annotations

import html.entities
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.parsers import expat

from datadistiller import errors
from datadistiller.model import BlockKind
from datadistiller.parsing import Header, Item, decoding, formats, headers, limits, pages, tables
from datadistiller.parsing.pages import PageBuilder

_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9_:.-]{2,40})", re.I)
#: Or what has no entities in it: that stays as it is, to the end of the file if nothing ends it.
_LOOSE_AMPERSAND = re.compile(r"&(?!#?\w{1,40};)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)", re.S)
_BINARY = re.compile(r"[A-Za-z0-9+/=\s]+")
_BINARY_WORD = re.compile(r"[A-Za-z0-9+/=]{60}")
#: Elements whose text is one paragraph, whatever is in them.
_PROSE = frozenset(("p", "para", "paragraph", "simpara", "li", "description", "abstract-p"))
_HEADINGS = frozenset(("title", "heading", "head", "subtitle", "article-title", "invention-title", "h1", "h2", "h3"))
#: Parts of Office files in one XML file that say how things look.
_UNSEEN_NAMES = (
    "w:styles w:fonts w:lists w:docPr w:docSuppData w:shapeDefaults w:binData w:instrText w:delText w:settings"
    " w:numbering w:webSettings w:pPr w:rPr w:sectPr w:tblPr w:tcPr pkg:binaryData a:theme ss:Styles"
    " x:ExcelWorkbook x:WorksheetOptions"
)
_UNSEEN = frozenset(_UNSEEN_NAMES.split())
_UNSEEN_IN_WORKBOOKS = frozenset(("Styles", "ExcelWorkbook", "WorksheetOptions"))
_ROWS = frozenset(("tr", "row"))
_CELLS = frozenset(("td", "th", "entry", "cell"))
_TABLES = frozenset(("table", "tgroup", "tbody", "worksheet"))
_LABELS = ("name", "label", "title", "key")
_VALUES = ("value", "content", "alt", "description", "summary", "caption", "text")
_MAX_LABEL_CHARS = 80
_LONG_CHARS = 200  # a value that is longer reads as prose
_MAX_LEAVES = 500
_PIECE = 1 << 16

#: A name and the text that belongs to it.
Leaf = tuple[str, str]


class _Frame:
    """An element that is open."""

    __slots__ = ("cell", "flow", "label", "leaves", "name", "text", "titled", "value")

    def __init__(self, name: str, attributes: Sequence[str], parent: str) -> None:
        self.name = name
        self.label = self.value = ""
        if attributes:
            given = dict(zip(map(_local, attributes[::2]), attributes[1::2], strict=True))
            self.label = next((given[key] for key in _LABELS if given.get(key)), "")[:_MAX_LABEL_CHARS]
            self.value = next((given[key] for key in _VALUES if given.get(key)), "")
        self.text: list[str] = []
        self.leaves: list[Leaf] = []  # what is in it and not on the page yet
        self.cell = name in _CELLS and parent in _ROWS
        self.flow = self.cell or name in _PROSE  # what is in it is one text
        self.titled = False


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()


class _Converter:
    """Feeds a ``PageBuilder`` with the elements of one file. An element that holds text of its own is a text with
    all that is in it; one that holds only elements with texts is a record of them."""

    def __init__(self) -> None:
        self.page = PageBuilder()
        self.title = ""
        self._stack: list[_Frame] = []
        self._flow: _Frame | None = None  # the outermost open element that is one text
        self._rows: list[list[str]] = []  # while there are any, what open elements hold comes after them
        self._root = ""
        self._unseen = 0  # how many elements are open that are passed over

    def start(self, name: str, attributes: list[str]) -> None:
        """An element begins."""
        if self._unseen or name in _UNSEEN or (name in _UNSEEN_IN_WORKBOOKS and self._root == "Workbook"):
            self._unseen += 1
            return
        self._root = self._root or name.rpartition(":")[2]
        frame = _Frame(_local(name), attributes, self._stack[-1].name if self._stack else "")
        frame.flow |= len(self._stack) >= limits.MAX_DEPTH
        self._stack.append(frame)
        if self._flow is not None:
            if self._flow.text and not name.startswith("w:"):  # Word tears words into runs
                self._flow.text.append("\0")
        elif frame.flow:
            self._flow = frame

    def end(self, name: str) -> None:
        """An element ends."""
        if self._unseen:
            self._unseen -= 1
            return
        frame = self._stack.pop()
        if self._flow is not None and self._flow is not frame:
            if self._flow.text and not name.startswith("w:"):
                self._flow.text.append("\0")
            return
        self._flow = None
        if frame.cell:
            self._give((frame.name, _flat(frame.text)))
        elif frame.flow:
            self._leaf(frame.label or frame.name, _flat(frame.text), frame)
        elif frame.name in _ROWS and frame.leaves and all(key in _CELLS for key, _ in frame.leaves):
            self._row([text for _, text in frame.leaves])
        elif len(frame.leaves) == 1:
            key, text = frame.leaves[0]
            self._give((key if key in _HEADINGS or key in _PROSE else frame.label or key, text))
        elif frame.leaves:
            self._stack.append(frame)
            self._put_all()
            self._stack.pop()
        elif frame.value or frame.label:
            self._leaf(frame.label if frame.value else frame.name, frame.value or frame.label, frame)
        if frame.name in _TABLES or not self._stack:
            self._end_table()

    def text(self, data: str) -> None:
        """Text inside an element."""
        if self._unseen:
            return
        if self._flow is None:
            if not data.strip() or not self._stack:
                return
            frame = self._stack[-1]
            frame.flow = True
            frame.text = [f"{text} " for _, text in frame.leaves]
            frame.leaves = []
            self._flow = frame
        self._flow.text.append(data)

    def entity(self, name: str, is_parameter: bool) -> None:
        """A reference to an entity that is not expanded: those of HTML are characters, the others are left out."""
        if not is_parameter and (character := html.entities.html5.get(f"{name};")):
            self.text(character)

    def _leaf(self, key: str, text: str, frame: _Frame) -> None:
        if text and not (_BINARY_WORD.match(text) and _BINARY.fullmatch(text)):
            self._give((frame.name if frame.name in _HEADINGS else key, text))

    def _row(self, cells: list[str]) -> None:
        """Adds a row to the table, or begins one where something stands before the row."""
        if any(cells):
            if any(frame.leaves for frame in self._stack):
                self._put_all()
            self._rows.append(cells)

    def _give(self, leaf: Leaf) -> None:
        """Hands a text to the element around it."""
        if not self._stack:
            self._end_table()
            self._put([leaf], None)
            return
        leaves = self._stack[-1].leaves
        leaves.append(leaf)
        if len(leaves) >= _MAX_LEAVES and self._stack[-1].name not in _ROWS:
            self._put_all()

    def _put_all(self) -> None:
        """Puts on the page what the open elements hold, the outermost first, so that the order is the file's."""
        self._end_table()
        for frame in self._stack:
            leaves, frame.leaves = frame.leaves, []
            self._put(leaves, frame)

    def _put(self, leaves: Sequence[Leaf], frame: _Frame | None) -> None:
        lines: list[str] = []
        for key, text in leaves:
            prose = key in _PROSE or len(text) > _LONG_CHARS
            if key in _HEADINGS or prose:
                self.page.add(BlockKind.PARAGRAPH, "\n".join(lines))
                lines = []
            if key in _HEADINGS and not len(text) > _LONG_CHARS:
                self._heading(text, frame)
            elif prose or key in _HEADINGS or key in _CELLS:
                self.page.add(BlockKind.PARAGRAPH, text)
            else:
                lines.append(f"{key}: {text}")
        self.page.add(BlockKind.PARAGRAPH, "\n".join(lines))

    def _heading(self, text: str, frame: _Frame | None) -> None:
        level = 1
        for other in self._stack:
            if other is frame:
                other.titled = True
                break
            level += other.titled
        self.title = self.title or text
        self.page.add(BlockKind.HEADING, text, min(level, 6))

    def _end_table(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self.page.add(BlockKind.TABLE, "\n".join(tables.lines(rows, headers.find(rows))))


def _flat(parts: list[str]) -> str:
    """The pieces of a text on one line; elements in it that touch are kept apart."""
    text = "".join(parts)
    if "\0" not in text:
        return " ".join(text.split())
    text = re.sub("\0+", "\0", text).strip("\0")
    return " ".join(re.sub(r"(?<=\w)\0(?=\w)", " ", text).replace("\0", "").split())


def _doctype_entity(
    name: str, is_parameter: int, value: str | None, _base: str | None, _system: str | None, _public: str | None,
    _notation: str | None,
) -> None:  # fmt: skip
    """An entity that is made of others can grow without end; external ones are never fetched."""
    if value is not None and (is_parameter or "&" in value or "%" in value or len(value) > 1000):
        raise errors.DamagedDocument(f"The XML file declares entities that are made of others ({name[:40]}).")


def convert(text: str) -> tuple[str, PageBuilder]:
    """The title and the contents of an XML file. Raises ``errors.DamagedDocument`` with the line."""
    converter = _Converter()
    parser = expat.ParserCreate("utf-8")
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.UseForeignDTD(True)  # an entity nobody declares is no error then: it may be in a DTD that is not fetched
    parser.EntityDeclHandler = _doctype_entity
    parser.StartElementHandler = converter.start
    parser.EndElementHandler = converter.end
    parser.CharacterDataHandler = converter.text
    parser.SkippedEntityHandler = converter.entity
    data = _LOOSE_AMPERSAND.sub(lambda m: "&amp;" if m[0] == "&" else m[0], text).encode("utf-8", "replace")
    try:
        for at in range(0, len(data), _PIECE):
            parser.Parse(data[at : at + _PIECE], False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise errors.DamagedDocument(f"The file is not valid XML (line {error.lineno}).") from error
    return converter.title[:300], converter.page


class XmlParser:
    """Reads XML files."""

    name = "xml"
    media_types = (formats.XML,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. The whole file is held in memory. Raises ``errors.DamagedDocument``."""
        data = path.read_bytes()
        declared = _DECLARED.match(data.lstrip()[:512])
        file = decoding.read(data, declared[1].decode("ascii") if declared else None)
        title, page = convert(pages.clean(file.text).strip())
        yield Header(self.name, formats.XML, title, 1, file.encoding)
        yield from file.warnings
        yield page.build(1)
