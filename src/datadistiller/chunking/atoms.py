"""Pages become atoms: the pieces a chunk is made of (headings, sentences, rows), with what parts them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from enum import IntEnum
from itertools import chain, pairwise
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
    SENTENCE = 1
    BLOCK = 2
    HEADING = 3


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


def atoms(page: Page, ruler: Ruler, target: int, most: int) -> list[Atom]:
    """The atoms of a page, in order; all that is not white space is in one. None has more than ``most`` tokens.

    A longer one is cut into pieces of about ``target`` tokens.
    """
    found = list(chain.from_iterable(_of_block(page.text, block) for block in _blocks(page)))
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


def _of_block(text: str, block: Block) -> Iterator[Atom]:
    if block.kind is BlockKind.HEADING:
        start, end = sentences.trimmed(text, block.start, block.end)
        if start < end:
            yield Atom(start, end, Joint.HEADING, block.level or 1)
        return
    joint = Joint.BLOCK
    whole = block.kind in (BlockKind.TABLE, BlockKind.CODE)
    ranges = _lines(text[block.start : block.end]) if whole else sentences.split(text[block.start : block.end])
    for start, end in ranges:
        yield Atom(block.start + start, block.start + end, joint, 0)
        joint = Joint.SENTENCE


def _lines(text: str) -> Iterator[tuple[int, int]]:
    breaks = [at for at, char in enumerate(text) if char == "\n"]
    for start, end in pairwise([0, *breaks, len(text)]):
        first, last = sentences.trimmed(text, start, end)
        if first < last:
            yield first, last
