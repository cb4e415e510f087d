"""Rich Text Format: groups and control words become blocks; fonts, pictures, field codes are passed over.

Our own reader: the libraries at hand give one string without headings, tables or notes, and none of them is small
and kept up. It is one pass over tokens without recursion.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from datadistiller import errors
from datadistiller.parsing import Header, Item, formats
from datadistiller.parsing.office.rtf_blocks import Blocks
from datadistiller.parsing.pages import PageBuilder

_TOKEN = re.compile(
    rb"\\([A-Za-z]{1,32})(-?[0-9]{1,10})?[ ]?|\\'([0-9A-Fa-f]{2})|\\(.)|([{}])|([^\\{}\r\n\0]+)|[\r\n\0]+|\\", re.S
)
_START = re.compile(rb"[\xef\xbb\xbf\s]{0,64}\{\s*\\rtf")
#: Destinations that hold no text of the document. Every unknown one behind ``\*`` is passed over too.
_SKIPPED_NAMES = (
    "colortbl filetbl pict nonshppict objdata objclass datafield fldinst xe tc rxe bkmkstart bkmkend sn sv sp listtable"
    " listoverridetable revtbl rsidtbl themedata colorschememapping latentstyles datastore xmlnstbl ftnsep ftnsepc"
    " ftncn aftnsep aftnsepc aftncn template generator nonesttables pnseclvl background private mmath upr ud comment"
    " atnid atnauthor atnref atndate atnparent"
)
_SKIPPED = frozenset(_SKIPPED_NAMES.split())
#: What stands apart from the text, and what a person calls it.
_APART = {"footnote": "Footnote", "annotation": "Comment"} | dict.fromkeys(
    ("header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf"), ""
)
_OTHER_DESTINATIONS = frozenset(("fonttbl", "stylesheet", "info", "title", "listtext", "pntext"))
_SHOWN_AFTER_STAR = frozenset(("shpinst", "shptxt", "cs", *_APART))
_CHARACTERS = {
    "tab": "\t", "line": "\n", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "bullet": "•",
    "emdash": "—", "endash": "–", "emspace": " ", "enspace": " ", "qmspace": " ", "nestcell": "\t", "nestrow": "\n",
}  # fmt: skip
_SYMBOLS = {b"~": " ", b"_": "-", b"{": "{", b"}": "}", b"\\": "\\", b"\t": "\t"}
_CHARSETS = {
    0: "cp1252", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "cp950",
    161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251",
    222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850",
}  # fmt: skip
_PAGES = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850", "ansi": "cp1252"}
_PRIVATE = re.compile("[\uf000-\uf0ff]")  # characters of symbol fonts: bullets and ticks without meaning as text
_MAX_GROUPS = 100_000


@dataclass(frozen=True, slots=True)
class _State:
    """What a group inherits and gives back when it ends."""

    destination: str = "body"
    encoding: str = ""  # of the font; empty: the document's
    fallback: int = 1  # how many characters stand for a Unicode one for old readers
    hidden: bool = False
    opened: bool = False  # this group began the destination


class _Reader:
    """Feeds the blocks of one file."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self.title = ""
        self._state = _State()
        self._stack: list[_State] = []
        self._encoding = "cp1252"
        self._fonts: dict[int, str] = {}
        self._font = 0  # the entry of the font table being read
        self._bytes = bytearray()
        self._texts: list[list[str]] = [[]]  # of the text and of each destination within it that is kept apart
        self._ignored = 0  # characters still to come that stand for a Unicode one
        self._starred = False
        self._fresh = False  # the group has just begun: only there a star means what it says

    def read(self, data: bytes) -> None:
        """Reads a whole file. Raises ``errors.LimitExceeded``."""
        at = 0
        while at < len(data) and (token := _TOKEN.match(data, at)):
            at = token.end()
            word, number, code, symbol, brace, run = token.groups()
            if word is not None:
                value = int(number) if number else None
                at += self._word(word.decode("ascii"), value)
            elif brace is not None:
                self._brace(brace)
            elif code is not None:
                self._raw(bytes((int(code, 16),)))
            elif run is not None:
                self._raw(run)
            elif symbol is not None:
                self._symbol(symbol)
        self._flush()
        while len(self._stack) > 0:
            self._brace(b"}")
        self._paragraph()
        self.blocks.end()

    def _brace(self, brace: bytes) -> None:
        self._flush()
        self._ignored = 0
        self._starred = False
        self._fresh = brace == b"{"
        if brace == b"{":
            if len(self._stack) > _MAX_GROUPS:
                raise errors.LimitExceeded(f"The RTF document nests more than {_MAX_GROUPS:,} groups.")
            self._stack.append(self._state)
            self._state = replace(self._state, opened=False)
        elif self._stack:
            if self._state.opened:
                self._close(self._state.destination)
            elif self._state.destination == "stylesheet":
                self.blocks.end_style("".join(self._texts[-1]))
                self._texts[-1] = []
            self._state = self._stack.pop()

    def _open(self, destination: str) -> None:
        if self._state.opened:  # two destinations in one group: the first goes on
            return
        self._state = replace(self._state, destination=destination, opened=True)
        if destination in ("title", "stylesheet", *_APART):
            self._texts.append([])

    def _close(self, destination: str) -> None:
        if destination in ("title", "stylesheet", *_APART):
            text = "".join(self._texts.pop())
            if destination == "title":
                self.title = " ".join(text.split())[:300]
            elif destination in _APART:
                self.blocks.add_apart(text.strip(), _APART[destination])

    def _word(self, word: str, value: int | None) -> int:
        """Obeys a control word; returns how many bytes of binary data follow it."""
        self._flush()
        starred, self._starred = self._starred, False
        self._fresh = False
        if word == "bin":
            return max(0, value or 0)
        if self._ignored and word != "u":
            self._ignored -= 1
            return 0
        if starred and word not in _SHOWN_AFTER_STAR:
            self._open("skip")
        elif self._state.destination == "skip":
            pass
        elif self._state.destination in ("fonttbl", "stylesheet", "info", "listtext"):
            self._table_word(word, value)
        elif word in _SKIPPED or word in _APART or word in _OTHER_DESTINATIONS:
            self._destination(word)
        else:
            self._text_word(word, value)
        return 0

    def _destination(self, word: str) -> None:
        if word in ("listtext", "pntext"):
            self.blocks.mark_item()
        self._open("listtext" if word == "pntext" else "skip" if word in _SKIPPED else word)

    def _table_word(self, word: str, value: int | None) -> None:
        """A word in the tables of fonts and styles and in the document's properties."""
        destination = self._state.destination
        if destination == "fonttbl" and word == "f":
            self._font = value or 0
        elif destination == "fonttbl" and word == "fcharset":
            self._fonts[self._font] = _CHARSETS.get(value or 0, "")
        elif destination == "fonttbl" and word == "cpg":
            self._fonts[self._font] = _known(value)
        elif destination == "stylesheet":
            self.blocks.style_word(word, value)
        elif destination == "info" and word == "title":
            self._open("title")

    def _text_word(self, word: str, value: int | None) -> None:
        if word == "u":
            self._unicode(value or 0)
        elif word in _CHARACTERS:
            self._put(_CHARACTERS[word])
        elif word in ("par", "sect", "page", "cell", "row"):
            self._break(word)
        elif word == "ansicpg":
            self._encoding = _known(value) or self._encoding
        elif word in _PAGES:
            self._encoding = _PAGES[word]
        elif word == "uc":
            self._state = replace(self._state, fallback=min(max(0, value if value is not None else 1), 32))
        elif word == "f":
            self._state = replace(self._state, encoding=self._fonts.get(value or 0, ""))
        elif word in ("v", "deleted"):
            self._state = replace(self._state, hidden=value != 0)
        elif word == "plain":
            self._state = replace(self._state, hidden=False, encoding="")
        elif len(self._texts) == 1:
            self.blocks.word(word, value)

    def _break(self, word: str) -> None:
        if self._state.hidden and word not in ("cell", "row"):
            return
        if len(self._texts) > 1:
            self._put("\n")
        elif word == "cell":
            self.blocks.cell(self._take())
        elif word == "row":
            self.blocks.row()
        elif self.blocks.in_table:
            self._put("\n")
        else:
            self._paragraph()

    def _paragraph(self) -> None:
        self.blocks.paragraph(self._take())

    def _take(self) -> str:
        text = _PRIVATE.sub("", "".join(self._texts[0]))
        self._texts[0] = []
        return text

    def _unicode(self, value: int) -> None:
        self._ignored = self._state.fallback
        self._put(chr(value & 0xFFFF))

    def _symbol(self, symbol: bytes) -> None:
        self._flush()
        if symbol == b"*":
            self._starred = self._fresh
        elif symbol in b"\r\n":
            self._word("par", None)
        elif self._ignored:
            self._ignored -= 1
        elif symbol in _SYMBOLS:
            self._put(_SYMBOLS[symbol])

    def _raw(self, run: bytes) -> None:
        """Bytes of text: characters of two bytes may be written partly as codes and partly as they are."""
        if self._ignored:
            taken = min(self._ignored, len(run))
            self._ignored -= taken
            run = run[taken:]
        if self._state.destination != "skip":
            self._bytes += run
        self._fresh = False

    def _flush(self) -> None:
        if self._bytes:
            text = bytes(self._bytes).decode(self._state.encoding or self._encoding, "replace")
            self._bytes.clear()
            self._put(text)

    def _put(self, text: str) -> None:
        state = self._state
        if not state.hidden and state.destination in ("body", "title", "stylesheet", *_APART):
            self._texts[-1].append(text)


def _known(page: int | None) -> str:
    """Python's name of a Windows code page, empty if it has none."""
    if page in (65001, 0, 42, None):
        return "utf-8" if page == 65001 else ""
    name = {10000: "mac_roman", 54936: "gb18030"}.get(page, f"cp{page}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return ""


def convert(data: bytes) -> tuple[str, PageBuilder]:
    """The title and the contents of an RTF file. Raises ``errors.DamagedDocument`` if it is none."""
    if not _START.match(data):
        raise errors.DamagedDocument("This is no RTF document: it does not begin like one.")
    reader = _Reader()
    reader.read(data)
    return reader.title or reader.blocks.title, reader.blocks.page


class RtfParser:
    """Reads RTF documents."""

    name = "rtf"
    media_types = (formats.RTF,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. The whole file is held in memory. Raises ``errors.DamagedDocument``, ``LimitExceeded``."""
        title, page = convert(path.read_bytes())
        yield Header(self.name, formats.RTF, title, 1)
        yield page.build(1)
