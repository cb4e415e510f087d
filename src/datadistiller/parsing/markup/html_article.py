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
#: A text that ends so begins another page.
_BROKEN_OFF = re.compile(r"(?:\u2026|\.\.\.|\[(?:\u2026|\.\.\.)\])[\s\])]*$")
#: A heading that begins so stands above other pages of the site, in the languages of most pages.
_RELATED_WORDS = (
    r"you (?:may|might) (?:also )?(?:like|be interested)",
    r"(?:related|recommended)\W*$",
    r"(?:related|recommended) (?:articles?|posts?|stories|content|links|news|topics|coverage|reading|for you)",
    r"more (?:from|stories|like this)|read (?:more|next)|most (?:read|popular)",
    r"das könnte (?:sie|dich|ihnen|dir) auch|mehr zum thema|(?:ähnliche|weitere) (?:artikel|beiträge|themen)",
    r"vous aimerez|à lire aussi|articles (?:similaires|liés)|sur le même (?:sujet|thème)",
    r"(?:también )?te puede (?:gustar|interesar)|(?:artículos|noticias) relacionad|más noticias",
    r"você (?:pode|vai|também vai) (?:também )?gostar|(?:leia|veja) também|(?:artigos|notícias) relacionad",
    r"potrebbe(?:ro)? (?:anche )?interessar|leggi anche|articoli correlati",
    r"lees ook|gerelateerde (?:artikelen|berichten)",
    r"читайте также|похожие (?:статьи|материалы)",
)
_RELATED = re.compile(rf"\W*(?:{'|'.join(_RELATED_WORDS)})", re.I)

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


class _Found:
    """The text that was found, as what may be compared with blocks."""

    def __init__(self, text: str) -> None:
        words = _words(text)
        self._text = f" {' '.join(words)} "
        self._words = set(words)
        self._lines = {_words(line) for line in text.split("\n")}
        self._runs = {words[i : i + _RUN] for i in range(len(words) - _RUN + 1)}
        self._left: dict[Words, int] = {}  # of what was kept already, how often it may come again

    def has(self, block: Block, text: str) -> bool:
        """Whether it has a block. What repeats (captions, headlines) is kept as often as there, once at least."""
        found = total = 0.0
        for line in text.split("\n"):
            words = _words(_MARKER.sub("", line, count=1) if block.kind == BlockKind.LIST else line)
            total += len(words)
            if block.kind == BlockKind.TABLE:
                found += sum(word in self._words for word in words)
            elif len(words) < _RUN:
                found += len(words) * (words in self._lines)
            else:
                places = len(words) - _RUN + 1
                found += len(words) * sum(words[i : i + _RUN] in self._runs for i in range(places)) / places
        enough = total > 0 and found >= total * (_TABLE_SHARE if block.kind == BlockKind.TABLE else _SHARE)
        return enough and (block.kind not in (BlockKind.PARAGRAPH, BlockKind.HEADING) or self._may_come(_words(text)))

    def _may_come(self, words: Words) -> bool:
        if words not in self._left:
            self._left[words] = max(1, self._text.count(f" {' '.join(words)} "))
        self._left[words] -= 1
        return self._left[words] >= 0


def _kept(page: Page, found: str) -> Sequence[bool]:
    """Which blocks are in the text that was found, and what it often lacks: tables and code in it, the headline."""
    article = _Found(found)
    kept = [article.has(block, page.text[block.start : block.end]) for block in page.blocks]
    if any(kept):
        first, last = kept.index(True), len(kept) - kept[::-1].index(True)
        for i in range(first, last):
            kept[i] |= page.blocks[i].kind in (BlockKind.TABLE, BlockKind.CODE)
        headline = next((i for i in range(first, -1, -1) if page.blocks[i].level == 1), first)
        kept[headline] = True
    return kept


def _is_article(page: Page, kept: Sequence[bool]) -> bool:
    """Prose for the most part, and not less of it than of what would be left out."""
    inside = prose = outside = 0
    related = 0  # level of the heading above what only points to other pages
    for block, keep in zip(page.blocks, kept, strict=True):
        text = page.text[block.start : block.end]
        lengths = [count(line) for line in text.split("\n")]
        tabular, teaser = block.kind in (BlockKind.TABLE, BlockKind.CODE), bool(_BROKEN_OFF.search(text))
        if block.level and (keep or not related or block.level <= related):
            related = block.level if not keep and _RELATED.match(text) else 0
        if keep:
            inside += sum(lengths)
            prose += sum(n for n in lengths if n >= _PROSE_WORDS and not (teaser or block.kind == BlockKind.TABLE))
        elif tabular or (max(lengths) >= _SUBSTANCE_WORDS and not (teaser or related)):
            outside += sum(lengths)
    return inside >= _MIN_WORDS and prose >= _PROSE_SHARE * inside and outside <= inside
