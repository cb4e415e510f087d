"""Builds pages: clean text and the blocks in it, with exact offsets."""

from __future__ import annotations

import re
from collections.abc import Sequence

from datadistiller.cells import Cells
from datadistiller.model import Block, BlockKind, Page

_SURROGATES = re.compile("[\ud800-\udfff]")
#: What is no text in any script is left out; form feeds and the like end a line.
_JUNK: dict[int, str | None] = dict.fromkeys((*range(9), *range(14, 32), 0x7F, 0xFEFF, 0xFFFE, 0xFFFF))
_JUNK |= dict.fromkeys((0x0B, 0x0C, 0x85, 0x2028, 0x2029), "\n") | {0xA0: " "}
_SUSPECT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufeff\ufffe\uffff\u0085\u2028\u2029\xa0]")


def clean(text: str) -> str:
    """``text`` with line ends as \\n, without NUL, other control characters and lone surrogates."""
    if not text.isascii() and _SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if not _SUSPECT.search(text):
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.translate(_JUNK)


def is_clean(text: str) -> bool:
    """Whether ``clean`` would leave ``text`` as it is."""
    return not _SUSPECT.search(text) and (text.isascii() or not _SURROGATES.search(text))


class PageBuilder:
    """Collects the blocks of one page; blocks are parted by an empty line."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._cells: list[Cells] = []
        self._length = 0

    @property
    def length(self) -> int:
        """Characters so far."""
        return self._length

    @property
    def places(self) -> int:
        """How many entries say which cells they are of."""
        return len(self._cells)

    def add(self, kind: BlockKind, text: str, level: int = 0, cells: Sequence[Cells] = ()) -> None:
        """Appends a block; one without text is left out. ``level`` is 1-6 for headings.

        ``cells`` are places in ``text``, which must be clean and stripped if there are some.
        """
        text = clean(text).strip()
        if not text:
            return
        if self._parts:
            self._parts.append("\n\n")
            self._length += 2
        at = self._length
        self._cells += (Cells(c.start + at, c.end + at, c.top, c.bottom, c.left, c.right) for c in cells)
        self._parts.append(text)
        self._blocks.append(Block(kind, self._length, self._length + len(text), level))
        self._length += len(text)

    def extend(self, other: PageBuilder) -> None:
        """Appends all blocks of another page, which is no sheet."""
        text = "".join(other._parts)
        for block in other._blocks:
            self.add(block.kind, text[block.start : block.end], block.level)

    def mark(self) -> int:
        """The place reached, for ``rewind``."""
        return len(self._blocks)

    def rewind(self, mark: int) -> None:
        """Drops the blocks added since ``mark``."""
        del self._blocks[mark:]
        del self._parts[max(0, 2 * mark - 1) :]
        self._length = self._blocks[-1].end if self._blocks else 0

    def build(self, number: int, label: str = "") -> Page:
        """The page with what was added."""
        return Page(number, "".join(self._parts), tuple(self._blocks), label, cells=tuple(self._cells))
