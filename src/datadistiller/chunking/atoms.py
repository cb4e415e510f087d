"""Pages become atoms: the pieces a chunk is made of (headings, sentences, rows), with what parts them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import chain, pairwise, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datadistiller.chunking import Tokenizer, sentences
from datadistiller.model import Block, BlockKind, Page

#: Most characters of a chunk, twice a usual one: it bounds runs that are few tokens (base64, padding).
MAX_CHARS = 2_000
#: Characters tokenised at once: the library needs about 600 bytes for each.
_SECTION_CHARS = 20_000
_MAX_BACKWARDS = 32


class Joint(IntEnum):
    """What parts an atom from the one before it, weakest first."""

    WORD = 0
    INSIDE = 1  # of a section, list, table or piece of code that would fit into a chunk as a whole
    SENTENCE = 2
    BLOCK = 3
    HEADING = 4


class Atom(NamedTuple):
    """``[start, end)`` of a page's text, no white space at its ends. ``level`` is 1-6 for headings, else 0."""

    start: int
    end: int
    joint: Joint
    level: int


class Ruler:
    """Counts tokens between places of one text, which is tokenised once."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self._text = text
        sections = list(_sections(text))
        offsets = tokenizer.offsets([text[start:end] for start, end in sections])
        starts = [part[:, 0] + start for (start, _), part in zip(sections, offsets, strict=True)]
        self._starts: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *starts])

    def before(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many tokens begin before each place."""
        return np.searchsorted(self._starts, places)

    def pieces(self, start: int, end: int, tokens: int) -> Iterator[tuple[int, int]]:
        """Cuts ``[start, end)`` between words into pieces of about equal size, none much above ``tokens``."""
        first, last = (int(n) for n in self.before(np.array([start, end])))
        count = -(-(last - first) // tokens)
        size = -(-(last - first) // max(count, 1))
        while start < end:
            at = int(self.before(np.array([start]))[0]) + size
            limit = int(self._starts[at]) if at < last else end
            cut = word_end(self._text, start, min(max(limit, start + 1), start + MAX_CHARS, end))
            first_char, last_char = sentences.trimmed(self._text, start, cut)
            if first_char < last_char:
                yield first_char, last_char
            start = cut


def word_end(text: str, start: int, limit: int) -> int:
    """The last place in ``(start, limit]`` between two words, or, in a word that long, between two characters."""
    if limit == len(text) or text[limit].isspace() or text[limit - 1].isspace():
        return limit
    words = text[start:limit].rsplit(None, 1)
    if len(words) == 2 and start < limit - len(words[1]):
        return limit - len(words[1])
    for cut in range(limit, max(start, limit - _MAX_BACKWARDS), -1):  # keep marks with what they are on
        if not (_extends(text[cut]) or text[cut - 1] == "\u200d"):
            return cut
    return limit


def _extends(char: str) -> bool:
    return char > "\u02ff" and (unicodedata.category(char)[0] == "M" or char == "\u200d" or "🏻" <= char <= "🏿")


def _sections(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = word_end(text, start, min(len(text), start + _SECTION_CHARS))
        yield start, end
        start = end


def atoms(page: Page, ruler: Ruler, target: int, most: int, room: int) -> list[Atom]:
    """The atoms of a page, in order; all that is not white space is in one. None has more than ``most`` tokens.

    A longer one is cut into pieces of about ``target`` tokens. A chunk has at most ``room``.
    """
    blocks = list(_blocks(page))
    held = _held(page.text, blocks, ruler, room)
    found = list(chain.from_iterable(map(_of_block, repeat(page.text), blocks, held)))
    ends = ruler.before(np.array([atom.end for atom in found], np.int64))
    begins = ruler.before(np.array([atom.start for atom in found], np.int64))
    sizes: list[int] = (ends - begins).tolist()
    whole: list[Atom] = []
    for atom, size in zip(found, sizes, strict=True):
        if size <= most and atom.end - atom.start <= MAX_CHARS:
            whole.append(atom)
            continue
        for start, end in ruler.pieces(atom.start, atom.end, target):
            whole.append(Atom(start, end, atom.joint if start == atom.start else Joint.WORD, 0))
    return whole


def _blocks(page: Page) -> Iterator[Block]:
    """The page's blocks, with what lies outside them as paragraphs."""
    at = 0
    for block in page.blocks:
        yield from _paragraphs(page.text, at, block.start)
        yield block
        at = block.end
    yield from _paragraphs(page.text, at, len(page.text))


def _paragraphs(text: str, start: int, end: int) -> Iterator[Block]:
    if start < end and not text[start:end].isspace():
        for first, last in sentences.paragraphs(text[start:end]):
            yield Block(BlockKind.PARAGRAPH, start + first, start + last)


def _held(text: str, blocks: Sequence[Block], ruler: Ruler, most: int) -> list[tuple[bool, bool]]:
    """Of each block whether it stands within a section of at most so many tokens, and whether it is to stay whole."""
    starts = ruler.before(np.array([*(block.start for block in blocks), len(text)], np.int64)).tolist()
    ends = ruler.before(np.array([block.end for block in blocks], np.int64)).tolist()
    held = []
    until = 0  # the first block after the section that fits
    closing = _sections_end(blocks)
    for n, block in enumerate(blocks):
        inside = n < until
        if not inside and block.kind is BlockKind.HEADING and starts[closing[n]] - starts[n] <= most:
            until = closing[n]
        whole = block.kind is not BlockKind.PARAGRAPH and ends[n] - starts[n] <= most
        held.append((inside, whole or n < until))
    return held


def _sections_end(blocks: Sequence[Block]) -> list[int]:
    """The block that ends the section of each heading: the next one of its level or above. 0 for other blocks."""
    closing = [0] * len(blocks)
    open_ones: list[int] = []
    for n, block in enumerate(blocks):
        if block.kind is BlockKind.HEADING:
            while open_ones and blocks[open_ones[-1]].level >= block.level:
                closing[open_ones.pop()] = n
            open_ones.append(n)
    for n in open_ones:
        closing[n] = len(blocks)
    return closing


def _of_block(text: str, block: Block, held: tuple[bool, bool]) -> Iterator[Atom]:
    inside, whole = held
    if block.kind is BlockKind.HEADING:
        start, end = sentences.trimmed(text, block.start, block.end)
        if start < end:
            yield Atom(start, end, Joint.INSIDE if inside else Joint.HEADING, block.level or 1)
        return
    joint = Joint.INSIDE if inside else Joint.BLOCK
    cut = _lines if block.kind in (BlockKind.TABLE, BlockKind.CODE) else sentences.split
    for start, end in cut(text[block.start : block.end]):
        yield Atom(block.start + start, block.start + end, joint, 0)
        joint = Joint.INSIDE if whole else Joint.SENTENCE


def _lines(text: str) -> Iterator[tuple[int, int]]:
    breaks = [at for at, char in enumerate(text) if char == "\n"]
    for start, end in pairwise([0, *breaks, len(text)]):
        first, last = sentences.trimmed(text, start, end)
        if first < last:
            yield first, last
