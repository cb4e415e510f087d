"""Answers a question from the documents: the sentences that support an answer best, each with its citation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datadistiller.model import Answer, Mode
from datadistiller.query import citations, selection
from datadistiller.query.search import Search, timed

NOTHING = "Nothing in the documents answers this question."


@dataclass(frozen=True, slots=True)
class Ask:
    """The whole way from a question to a cited answer."""

    search: Search

    async def ask(
        self,
        question: str,
        top_k: int = 5,
        mode: Mode = Mode.HYBRID,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        answer: bool = True,
    ) -> Answer:
        """The answer with its ``top_k`` passages as citations, best first.

        If nothing supports an answer, ``answered`` is False, ``text`` says so plainly, and the citations are the
        nearest passages all the same, so that a person can look. With ``answer=False`` only passages are wanted:
        ``text`` is None. Raises what ``Search.search`` raises.
        """
        begun = time.perf_counter()
        found = await self.search.search(question, top_k, mode, collection, filter)
        timings = dict(found.timings_ms)
        chosen: selection.Selection | None = None
        if answer:
            with timed(timings, "answer"):
                chosen = selection.select(question, found.passages)
        sentences = citations.cite(found.passages, chosen.choices) if chosen else []
        text = citations.render(sentences) or NOTHING if answer else None
        took = 1000 * (time.perf_counter() - begun)
        return Answer(question, text, bool(sentences), sentences, found.passages, took, timings)
