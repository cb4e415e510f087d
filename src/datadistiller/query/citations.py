"""Pure: chosen sentences become numbered citations with their exact places, and citations are checked.

Citation ``n`` is the ``n``-th passage of the answer, from 1. A sentence's place is its passage's place plus its own
offset in the passage's text, so it is as true as the passage: ``page_text[start:end] == text``.
"""

from __future__ import annotations

from collections.abc import Sequence

from datadistiller.model import Passage, Sentence
from datadistiller.query.selection import Choice


def cite(passages: Sequence[Passage], choices: Sequence[Choice]) -> list[Sentence]:
    """The chosen sentences in reading order: documents as their best passages rank, then page, then place."""
    rank: dict[object, int] = {}
    for n, passage in enumerate(passages):
        rank.setdefault(passage.job_id, n)
    cited = [(rank[passages[choice.passage].job_id], _sentence(passages[choice.passage], choice)) for choice in choices]
    cited.sort(key=lambda pair: (pair[0], pair[1].page, pair[1].start))
    return [sentence for _, sentence in cited]


def _sentence(passage: Passage, choice: Choice) -> Sentence:
    return Sentence(
        text=passage.text[choice.start : choice.end],
        citation=choice.passage + 1,
        page=passage.page,
        start=passage.start + choice.start,
        end=passage.start + choice.end,
    )


def render(sentences: Sequence[Sentence]) -> str:
    """The sentences for reading: on one line, each followed by its marker [n]."""
    return " ".join(f"{' '.join(sentence.text.split())} [{sentence.citation}]" for sentence in sentences)


def is_true(place: Passage | Sentence, page_text: str) -> bool:
    """Whether a passage or sentence says exactly what the page says there."""
    return 0 <= place.start < place.end <= len(page_text) and page_text[place.start : place.end] == place.text
