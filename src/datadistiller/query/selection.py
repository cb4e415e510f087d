"""Pure: which sentences of the passages found answer a question best, and whether anything does.

No model runs here. A sentence is worth what it shares with the question (rare words count more, words side by side
more than words apart), and what its passage is worth. The weights are a listwise fit on squad2, xquad_de and
xquad_es, rounded; there and on xquad_en, which was held out, the best sentence holds the gold answer in three of four
questions, the two chosen on average in nearly nine of ten (``python -m benchmarks.retrieval answers``).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datadistiller.chunking import sentences
from datadistiller.model import Passage
from datadistiller.query import words

#: Passages whose sentences are looked at; the answer is hardly ever further down.
PASSAGES = 8
#: Most sentences of an answer.
SENTENCES = 4
#: How far below the best sentence another one may be.
MARGIN = 0.3
#: Sentences that share this much of their words are one statement.
SAME = 0.7
#: Words of a question that are looked for; a longer question is a text, and its first words say what it is about.
QUESTION_WORDS = 100

#: What counts: shares of the question's words, in the sentence itself, the one before it and the passage's title.
_PREVIOUS, _CONTEXT, _NEAR, _FIGURE, _SHORT = 0.35, 0.25, 0.15, 0.15, -0.15
#: Support is the best cosine plus this much of the share of the question's words in one passage.
_COVERAGE = 0.5
#: Support below this means that nothing answers. On squad2 and xquad_{en,de,es} 96 % of questions keep their answer;
#: 95 % of those on something else are refused, 69 % if only the documents on their very subject are missing. Area under
#: the curve .98. What words and cosines cannot tell is a question worded like the text with one detail wrong.
SUPPORT = 0.56
#: The same where there are no cosines (keyword search).
KEYWORD_COVERAGE = 0.55

_ASKS_FIGURE = re.compile(
    r"\b(when|how (?:many|much|long|old|far|tall|big|large|high|often|fast)|(?:what|which) (?:year|date|day|month|"
    r"century|decade|percentage|percent|number|amount|age)|wann|wie ?viele?|wie (?:lange|alt|hoch|weit|oft|gro[sß]+)|"
    r"(?:welche[mnrs]?) (?:jahr|datum|jahrhundert|tag|monat)|cuando|cuant[oa]s?|que (?:ano|fecha|siglo)|quand|"
    r"combien|quelle (?:annee|date)|quando|quant[oaie]s?|wanneer|hoeveel)\b"
)
_FIGURE_WORD = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Choice:
    """A sentence of a passage: ``passage`` counts from 0, ``[start, end)`` is a range of the passage's text."""

    passage: int
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Selection:
    """The best sentences, best first; none if ``support`` is too low for an answer."""

    choices: Sequence[Choice]
    support: float


@dataclass(frozen=True, slots=True)
class _Candidate:
    passage: int
    start: int
    end: int
    stems: list[str]
    before: frozenset[str]  # of the sentence before it in the passage


@dataclass(frozen=True, slots=True)
class _Question:
    stems: list[str]  # of the content words, in order
    weights: dict[str, float]  # by stem; they add up to 1
    asks_figure: bool

    def share(self, stems: Iterable[str]) -> float:
        """The share of the question that these stems cover, 0 to 1."""
        return math.fsum(self.weights.get(stem, 0.0) for stem in set(stems))


def select(question: str, passages: Sequence[Passage]) -> Selection:
    """Chooses one to four sentences of the passages, which are given best first; none if nothing is asked."""
    if words.says_nothing(question):  # even rubbish is near to something
        return Selection((), 0.0)
    passages = passages[:PASSAGES]
    candidates = [candidate for n, passage in enumerate(passages) for candidate in _candidates(n, passage)]
    asked = _understand(question, candidates)
    support, enough = _support(asked, passages, candidates)
    if not candidates or not enough:
        return Selection((), support)
    best = max(passage.score for passage in passages)
    contexts = [frozenset(_stems(passage.context)) for passage in passages]
    scored = []
    for candidate in candidates:
        passage = passages[candidate.passage]
        worth = max(0.0, passage.score / best) if best > 0 else 0.0
        figure = bool(_FIGURE_WORD.search(passage.text, candidate.start, candidate.end))
        scored.append((worth + _score(asked, candidate, contexts[candidate.passage], figure), candidate))
    scored.sort(key=lambda pair: -pair[0])  # stable: of equals the one found first
    return Selection(_distinct(scored), support)


def _stems(text: str) -> list[str]:
    return [words.stem(word) for word in words.split(text)]


def _candidates(number: int, passage: Passage) -> list[_Candidate]:
    found: list[_Candidate] = []
    before: frozenset[str] = frozenset()
    for start, end in _sentences(passage):
        stems = _stems(passage.text[start:end])
        if stems:
            found.append(_Candidate(number, start, end, stems, before))
            before = frozenset(stems)
    return found


def _sentences(passage: Passage) -> Iterable[tuple[int, int]]:
    """The ranges that may be chosen; in a table of a sheet a row is a sentence, but not one that names the columns."""
    if all(one.left == one.right for one in passage.cells):
        return sentences.split(passage.text)
    rows = passage.text.split("\n")
    places = itertools.pairwise(itertools.accumulate((len(row) + 1 for row in rows), initial=0))
    below = [*rows[1:], ""]
    return [
        (start, end - 1)
        for (start, end), row, next_row in zip(places, rows, below, strict=True)
        if row and not _names(row, next_row)
    ]


def _names(row: str, below: str) -> bool:
    """True if a row only names columns: the one below says its values with these names."""
    first, bar, _ = row.partition(" | ")
    return bool(first and bar) and below.startswith(f"{first}: ")


def _understand(question: str, candidates: Sequence[_Candidate]) -> _Question:
    """Weighs the question's words: those in few of the sentences count more."""
    stems = [words.stem(word) for word in words.content(question)[:QUESTION_WORDS]]
    counts = dict.fromkeys(stems, 0)
    for candidate in candidates:
        for stem in counts.keys() & set(candidate.stems):
            counts[stem] += 1
    rarity = {stem: math.log1p((len(candidates) + 0.5) / (count + 0.5)) for stem, count in counts.items()}
    total = math.fsum(rarity.values())
    weights = {stem: value / total for stem, value in rarity.items()}
    return _Question(stems, weights, bool(_ASKS_FIGURE.search(words.fold(question))))


def _score(asked: _Question, candidate: _Candidate, context: frozenset[str], figure: bool) -> float:
    own = set(candidate.stems)
    score = asked.share(own) + _NEAR * _nearness(asked.stems, candidate.stems)
    score += _PREVIOUS * asked.share(candidate.before - own) + _CONTEXT * asked.share(context - own)
    if asked.asks_figure and figure:
        score += _FIGURE
    return score + _SHORT if len(candidate.stems) < 5 else score


def _nearness(question: Sequence[str], sentence: Sequence[str]) -> float:
    """The share of neighbours in the question that stand within three words of each other in the sentence."""
    pairs = {(a, b) for a, b in itertools.pairwise(question) if a != b}
    if not pairs:
        return 0.0
    wanted = {stem for pair in pairs for stem in pair}
    places = [(at, stem) for at, stem in enumerate(sentence) if stem in wanted]
    near = set()
    for n, (at, stem) in enumerate(places):
        for at_other, other in places[n + 1 : n + 4]:
            if at_other - at <= 3:
                near |= {(stem, other), (other, stem)}
    return len(pairs & near) / len(pairs)


def _support(asked: _Question, passages: Sequence[Passage], candidates: Sequence[_Candidate]) -> tuple[float, bool]:
    """How well the best passages support any answer, and whether that is enough."""
    covered: list[set[str]] = [set(_stems(passage.context)) for passage in passages]
    for candidate in candidates:
        covered[candidate.passage].update(candidate.stems)
    coverage = max((asked.share(stems) for stems in covered), default=0.0)
    cosines = [passage.similarity for passage in passages if passage.similarity is not None]
    if not cosines:
        return coverage, coverage >= KEYWORD_COVERAGE
    support = max(cosines) + _COVERAGE * coverage
    return support, support >= SUPPORT


def _distinct(scored: Sequence[tuple[float, _Candidate]]) -> list[Choice]:
    """The best sentences that say different things."""
    chosen: list[Choice] = []
    said: list[set[str]] = []
    for score, candidate in scored:
        if len(chosen) == SENTENCES or score < scored[0][0] - MARGIN:
            break
        stems = set(candidate.stems)
        if all(len(stems & other) < SAME * len(stems | other) for other in said):
            chosen.append(Choice(candidate.passage, candidate.start, candidate.end, score))
            said.append(stems)
    return chosen
