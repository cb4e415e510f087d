"""Where sentences begin and end. Pure, linear in the length of the text, no model.

Rules rather than a model, because every word here ends up as a citation: a rule can be explained and
fixed. A full stop ends a sentence unless the word before it is an abbreviation, an initial or a list
number; a line break ends one at a blank line, before a list item, after a table row, and after a line
so short that the next word would have fitted on it (a heading, the end of a paragraph).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

_CLOSERS = "\"'”’»›)\\]}」』）】〉》"
#: A run of terminators with what closes after it. The look-behind keeps "......" linear.
_STOP = re.compile(
    rf"(?<![.!?…])[.!?…]++[{_CLOSERS}]*+(?=\s|\Z)"  # needs a space: 3.5, www.example.org
    rf"|(?<![。！？｡।॥؟۔።])[。！？｡।॥؟۔።]++[{_CLOSERS}]*+"  # needs none
)
_BLANK_LINE = re.compile(r"[\f\v\u2028\u2029]|\n[^\S\n]*+\n")
_LIST_ITEM = re.compile(r"[^\S\n]*+(?:[-*+•‣◦▪●○■□–—·]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})[.)])[^\S\n]")
_MARKER = re.compile(r"[\s(\[]*(?:\d{1,3}(?:\.\d{1,3})*|[a-zA-Z]|[ivxIVX]{1,5})[.)]+\Z")
_WORD_BEFORE = re.compile(r"[^\s(\[\"'“‘«]+\Z")
_WORD_AFTER = re.compile(r"[\s\"'“”‘’«»(\[]*(\w[\w'’]*)?")
_NUMERIC = re.compile(r"[\d$€£¥%|\t—]")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Never the end of a sentence.
_TITLES = _words(
    "mr mrs ms dr prof st rev hon gen col lt sgt capt cmdr adm gov sen rep pres messrs mx sr sra srta dra ee "
    "hr fr herr mme mlle vs v e.g i.e cf viz resp approx ca z.b d.h u.a i.d.r o.g s.o vgl bzw p.ej"
)
#: Not the end if a number (or a Roman one) follows.
_REFERENCES = _words(
    "no nos nr fig figs eq eqs sec secs ch chap art arts vol vols p pp par para cl app ref refs tab n.º núm pág págs "
    "abs abb ziff bd jan feb mar apr jun jul aug sep sept oct nov dec"
)
#: The end only if the next word starts sentences more often than names. Initials are treated alike.
_UNSURE = _words("inc ltd corp co llc plc gmbh bros jr etc al dept univ est a.m p.m u.s u.k u.n e.u ph.d usw")
_STARTERS = _words(
    "the a an this that these those it its he she they we you i in on at as for from to by with and but or if when "
    "while after before since because although however there here our their his her what who which where why how "
    "no yes not some all many most each der die das ein eine es er sie wir im am el la los las un una en le les"
)
_GERMAN_MONTHS = _words("januar februar märz april mai juni juli august september oktober november dezember")


def split(text: str) -> list[tuple[int, int]]:
    """The sentences of ``text`` as half-open code-point ranges, in order, without the white space around them.

    Every character that is not white space is in exactly one range. Text without terminators (a list, a
    heading, a table) is cut at lines that are complete in themselves; otherwise a range may be long.
    """
    sentences: list[tuple[int, int]] = []
    for start, end in paragraphs(text):
        for line_start, line_end in _joined_lines(text, start, end):
            sentences += _in_prose(text, line_start, line_end)
    return sentences


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """``[start, end)`` without white space at both ends; ``(end, end)`` if there is nothing else."""
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    return (start + left, start + len(piece.rstrip())) if left < len(piece) else (end, end)


def paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """The ranges between blank lines and page breaks; together they hold all that is not white space."""
    at = 0
    for gap in _BLANK_LINE.finditer(text):
        yield at, gap.start()
        at = gap.end()
    yield at, len(text)


def _joined_lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Runs of lines that belong together: wrapped prose is one run."""
    if text.find("\n", start, end) < 0:
        yield start, end
        return
    lines = text[start:end].split("\n")
    width = max(map(len, lines))
    at = cursor = start
    for line, following in itertools.pairwise(lines):
        cursor += len(line) + 1
        if _complete(line, following, width):
            yield at, cursor
            at = cursor
    yield at, end


def _complete(line: str, following: str, width: int) -> bool:
    """Whether the line break after ``line`` separates, rather than wraps."""
    if _LIST_ITEM.match(following):
        return True
    head = following.lstrip()[:1]
    if not head or not (head.isupper() or head.isdigit() or head in "$€£¥|"):
        return False
    if len(_NUMERIC.findall(line)) * 4 > len(line):  # a row of a table
        return True
    if _LIST_ITEM.match(line):  # its width says nothing about the lines around it
        return False
    return len(line) + 1 + len(following.split(None, 1)[0]) < 0.8 * width


def _in_prose(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    at = start
    for stop in _STOP.finditer(text, start, end):
        if _ends_sentence(text, at, stop, end):
            first, last = trimmed(text, at, stop.end())
            if first < last:
                yield first, last
            at = stop.end()
    first, last = trimmed(text, at, end)
    if first < last:
        yield first, last


def _ends_sentence(text: str, start: int, stop: re.Match[str], end: int) -> bool:
    mark = stop.group()
    if mark[0] not in ".!?…" or stop.end() == end:
        return True
    after = _WORD_AFTER.match(text, stop.end(), min(end, stop.end() + 200))
    word = (after and after.group(1)) or ""
    if word[:1].islower():
        return False
    if mark[0] != ".":
        return True
    begun = max(start, stop.start() - 24)
    if begun == start and _MARKER.match(text, start, stop.end()):
        return False
    before = _WORD_BEFORE.search(text, begun, stop.start())
    return before is None or _full_stop(before.group(), word)


def _full_stop(before: str, word: str) -> bool:
    """Whether a full stop between these two words ends a sentence."""
    known = before.lower().lstrip("“‘«")
    if known in _TITLES:
        return False
    if known in _REFERENCES and word and (word[0].isdigit() or set(word) <= set("IVXLC")):
        return False
    if known.isdigit() and len(known) < 3:
        return word.lower() not in _GERMAN_MONTHS
    if known in _UNSURE or (len(known) == 1 and known.isalpha()) or re.fullmatch(r"(?:\w\.)+\w", known):
        return word.lower() in _STARTERS or not word
    return True
