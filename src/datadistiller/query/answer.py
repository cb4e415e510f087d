"""Answers a question from the documents: the sentences that support an answer best, each with its citation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datadistiller.model import Answer, Mode
from datadistiller.query import citations, selection
from datadistiller.query.rerank import Rerank
from datadistiller.query.search import Search, timed

#: What scores passages if no model does.
SEARCH = "search"
NOTHING = "Nothing in the documents answers this question."


@dataclass(frozen=True, slots=True)
class Ask:
    """The whole way from a question to a cited answer."""

    search: Search
    rerank: Rerank | None = None

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
        wanted = self.rerank.wanted(top_k) if self.rerank else top_k
        found = await self.search.search(question, wanted, mode, collection, filter)
        passages, timings = found.passages, dict(found.timings_ms)
        if self.rerank:
            with timed(timings, "rerank"):
                passages = await self.rerank.best(question, passages, top_k)
        chosen: selection.Selection | None = None
        if answer:
            with timed(timings, "answer"):
                chosen = selection.select(question, passages)
        sentences = citations.cite(passages, chosen.choices) if chosen else []
        text = citations.render(sentences) or NOTHING if answer else None
        took = 1000 * (time.perf_counter() - begun)
        scored_by = self.rerank.reranker.name if self.rerank else SEARCH
        return Answer(question, text, bool(sentences), sentences, passages, took, scored_by, timings)
