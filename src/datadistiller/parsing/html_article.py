"""Which blocks of an HTML page are its article. trafilatura finds its text; what is kept are blocks of our own reading.

Pages that are no articles (lists of links, tables, a thread of posts, texts without links) are kept whole, and so is
a page where nothing is found or where finding it fails: too much is better than a loss.
"""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import FrameType

from datadistiller.model import Block, BlockKind, Page
from datadistiller.parsing import limits

#: Letters of scripts without spaces are words of their own.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_LINK = re.compile(r"<a\s", re.I)
_MARKER = re.compile(r"\s*(?:-|\d+\.)\s")
_RUN = 4  # words that are compared at once
#: Fewer links than this, and there is no navigation worth a risk; fewer words, and it is no article.
_MIN_LINKS, _MIN_WORDS = 10, 100
#: Share of a block's words that must be found; of tables the words count without their order, hence more.
_SHARE, _TABLE_SHARE = 0.5, 0.8
#: A line of this many words is prose, and half of an article is that.
_PROSE_WORDS, _PROSE_SHARE = 12, 0.5
#: A paragraph of this many words around the article has something to say.
_SUBSTANCE_WORDS = 25

Words = tuple[str, ...]


class _TooSlow(Exception):
    """The time for finding the article is over."""


def article(markup: str, page: Page) -> Sequence[Block]:
    """The blocks of ``page`` that are its article; all of them if it is none. It was read from ``markup``.

    ``markup`` has at most ``limits.MAX_ARTICLE_CHARS`` characters, or everything is kept.
    """
    if len(markup) > limits.MAX_ARTICLE_CHARS or len(_LINK.findall(markup)) < _MIN_LINKS:
        return page.blocks
    kept = _kept(page, _found(markup))
    return (
        [block for block, keep in zip(page.blocks, kept, strict=True) if keep]
        if _is_article(page, kept)
        else page.blocks
    )


def count(text: str) -> int:
    """How many words ``text`` has."""
    return sum(1 for _ in _WORD.finditer(text))


def _found(markup: str) -> str:
    """The text of the article as trafilatura gives it, empty if it finds none or fails."""
    try:
        with _within(limits.ARTICLE_SECONDS):
            return _finder()(markup) or ""
    except MemoryError:
        raise
    except Exception:  # the page is read anyway, and any of three libraries may stumble over it
        return ""


@cache
def _finder() -> Callable[[str], str | None]:
    import trafilatura  # a tenth of a second and 30 MB that other formats do not need

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL + 1)  # it quotes documents
    return lambda markup: trafilatura.extract(markup, fast=True, include_comments=False, include_tables=True)


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raises ``_TooSlow`` after so much time of the processor. Only a main thread can be told, as the parser is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _words(text: str) -> Words:
    return tuple(_WORD.findall(text.casefold()))


def _kept(page: Page, found: str) -> Sequence[bool]:
    """Which blocks are in the text that was found, and what it often lacks: tables and code in it, the headline."""
    words = _words(found)
    runs = {words[i : i + n] for n in range(1, _RUN + 1) for i in range(len(words) - n + 1)}
    lines = {_words(line) for line in found.split("\n")}
    kept = [_is_found(block, page.text[block.start : block.end], runs, lines) for block in page.blocks]
    if any(kept):
        first, last = kept.index(True), len(kept) - kept[::-1].index(True)
        for i in range(first, last):
            kept[i] |= page.blocks[i].kind in (BlockKind.TABLE, BlockKind.CODE)
        headline = next((i for i in range(first, -1, -1) if page.blocks[i].level == 1), first)
        kept[headline] = True
    return kept


def _is_found(block: Block, text: str, runs: set[Words], lines: set[Words]) -> bool:
    found = total = 0.0
    for line in text.split("\n"):
        listed = block.kind == BlockKind.LIST
        words = _words(_MARKER.sub("", line, count=1) if listed else line)
        total += len(words)
        if block.kind == BlockKind.TABLE:
            found += sum((word,) in runs for word in words)
        elif len(words) < _RUN:
            found += len(words) * (words in (runs if listed else lines))
        else:
            places = len(words) - _RUN + 1
            found += len(words) * sum(words[i : i + _RUN] in runs for i in range(places)) / places
    return total > 0 and found >= total * (_TABLE_SHARE if block.kind == BlockKind.TABLE else _SHARE)


def _is_article(page: Page, kept: Sequence[bool]) -> bool:
    """Prose for the most part, and not less of it than of what would be left out."""
    inside = prose = outside = 0
    for block, keep in zip(page.blocks, kept, strict=True):
        lengths = [count(line) for line in page.text[block.start : block.end].split("\n")]
        if keep:
            inside += sum(lengths)
            prose += sum(n for n in lengths if n >= _PROSE_WORDS and block.kind != BlockKind.TABLE)
        elif block.kind in (BlockKind.TABLE, BlockKind.CODE) or max(lengths) >= _SUBSTANCE_WORDS:
            outside += sum(lengths)
    return inside >= _MIN_WORDS and prose >= _PROSE_SHARE * inside and outside <= inside
