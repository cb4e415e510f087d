"""Cuts parsed documents into chunks: of about the target size, at the best places, never above the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np

from datadistiller import cells, errors
from datadistiller.chunking import Tokenizer, sentences
from datadistiller.chunking.anchors import anchors
from datadistiller.chunking.atoms import MAX_CHARS, Atom, Joint, Ruler, atoms, word_end
from datadistiller.chunking.outline import Outline
from datadistiller.model import Chunk, Page, ParsedDocument, make_chunk_id

#: What it costs to end a chunk before an atom with this joint; 1 is the cost of a chunk of no size at all.
#: Chosen on SQuAD 2 with the paragraphs of each article joined: blocks at 0 and sentences at 0.5 beat 0.1 and
#: 0.25 (MRR of the chunk with the answer .868 to .864), more is the same. So did no overlap beat one sentence.
_JOINT_COST = {Joint.HEADING: -0.1, Joint.BLOCK: 0.0, Joint.SENTENCE: 0.5, Joint.INSIDE: 1.2, Joint.WORD: 1.5}
_LONELY_HEADING_COST = 4.0  # a heading stays with what follows it
_TAIL_COST = 0.3  # what would be left of the page is too little for a chunk of its own
_TAIL = 0.25  # of the target
#: Anchors beat all places this many targets around. With 1.25 sizes of short paragraphs spread by 32 tokens instead
#: of 28, with 2 (by 24) an edit changes more chunks.
_REACH = 1.5
#: A page of so many targets is cut by size alone: whatever an edit does, it changes that many chunks at most.
_SHORT = 3
_CONTEXT_SHARE = 5  # a context has at most this part of the window
_MAX_CONTEXT = 48  # tokens
_SPACES = " \n\t"  # what no token spans; tokenizers differ about other white space


@dataclass(frozen=True, slots=True)
class _Draft:
    page: Page
    start: int
    end: int
    context: str
    tokens: int | None  # of context and text, special tokens included; None if it must be measured

    @property
    def indexed_text(self) -> str:
        text = self.page.text[self.start : self.end]
        return f"{self.context}\n{text}" if self.context else text


class Chunker:
    """Pure: the same document gives the same chunks. Safe to call from several threads."""

    def __init__(self, tokenizer: Tokenizer, target_tokens: int) -> None:
        """``target_tokens``: what a chunk's text aims at; the context comes on top, the window is never exceeded."""
        self._tokenizer = tokenizer
        self._room = tokenizer.window - tokenizer.special_tokens  # tokens for context and text
        self._max_context = min(_MAX_CONTEXT, tokenizer.window // _CONTEXT_SHARE)
        self._target = min(target_tokens, self._room - self._max_context)

    def chunk(self, job_id: UUID, document: ParsedDocument, filename: str) -> list[Chunk]:
        """The chunks in reading order; none if there is no text.

        Every character that is not white space is in exactly one chunk.
        """
        outline = Outline(document.title, filename, self._tokenizer, self._max_context)
        drafts = [draft for page in document.pages for draft in self._drafts(page, outline)]
        chunks: list[Chunk] = []
        for draft, tokens in self._fitting(drafts):
            text = draft.page.text[draft.start : draft.end]
            chunk_id = make_chunk_id(job_id, len(chunks), text)
            place = (draft.page.number, draft.start, draft.end)
            said = tuple(cells.within(draft.page.cells, draft.page.text, 0, draft.start, draft.end))
            chunks.append(Chunk(chunk_id, len(chunks), *place, text, draft.context, tokens, said))
        return chunks

    def _drafts(self, page: Page, outline: Outline) -> Iterator[_Draft]:
        """The chunks of a page as planned; ``outline`` moves to the end of the page."""
        ruler = Ruler(page.text, self._tokenizer)
        found = atoms(page, ruler, self._target, self._room - self._max_context, self._room)
        edges = [atom.start for atom in found] + [len(page.text)]
        places = ruler.before(np.array(edges, np.int64))
        tokens: list[int] = places.tolist()
        short = tokens[-1] <= _SHORT * self._target
        stops = iter([len(found)] if short else anchors(page.text, found, places, int(_REACH * self._target)))
        at = stop = 0
        while at < len(found):
            if at == stop:
                stop = next(stops)
            context, size = outline.context(found[at].level)
            following = self._end(found, tokens, at, stop, self._room - size, even=not short)
            for atom in found[at:following]:
                if atom.level:
                    outline.enter(atom.level, page.text[atom.start : atom.end])
            start, end = found[at].start, found[following - 1].end
            planned = self._tokenizer.special_tokens + size + tokens[following] - tokens[at]
            yield _Draft(page, start, end, context, planned if _between_words(page.text, start, end) else None)
            at = following

    def _end(self, found: Sequence[Atom], tokens: Sequence[int], at: int, stop: int, room: int, even: bool) -> int:
        """Which atom, up to ``stop``, the chunk that begins with atom ``at`` ends before: the cheapest that fits."""
        best, lowest = at + 1, float("inf")
        left = tokens[stop] - tokens[at]
        target = self._share(left, room) if even else self._target
        for end in range(at + 1, stop + 1):
            size = tokens[end] - tokens[at]
            if end > at + 1 and (size > room or found[end - 1].end - found[at].start > MAX_CHARS):
                break
            cost = (1 - size / target) ** 2
            if end < stop:
                cost += _JOINT_COST[found[end].joint]
                if found[end - 1].level:
                    cost += _LONELY_HEADING_COST
                if left - size < _TAIL * target:
                    cost += _TAIL_COST
            if cost <= lowest:
                best, lowest = end, cost
        return best

    def _share(self, left: int, room: int) -> float:
        """The size of each chunk if what is left up to the anchor is cut evenly: near the target, and it fits."""
        return max(left, 1) / max(1, round(left / self._target), -(-left // room))

    def _fitting(self, drafts: Sequence[_Draft]) -> Iterator[tuple[_Draft, int]]:
        """Each draft with its exact size; one that is too large in halves.

        Where a word was cut, the text is measured again as the embedder will see it: a word cut in two can
        have many more tokens. Elsewhere that would give the same number and cost as much as all the rest.
        """
        for draft in drafts:
            tokens = draft.tokens or self._tokenizer.count([draft.indexed_text])[0]
            if tokens <= self._tokenizer.window:
                yield draft, tokens
            else:
                yield from self._fitting(self._halves(draft))

    def _halves(self, draft: _Draft) -> list[_Draft]:
        text, middle = draft.page.text, (draft.start + draft.end) // 2
        if middle == draft.start:
            raise errors.BrokenInvariant("A single character does not fit the embedder's window.")
        cut = word_end(text, draft.start, middle)
        ranges = (sentences.trimmed(text, draft.start, cut), sentences.trimmed(text, cut, draft.end))
        return [replace(draft, start=start, end=end, tokens=None) for start, end in ranges if start < end]


def _between_words(text: str, start: int, end: int) -> bool:
    return (start == 0 or text[start - 1] in _SPACES) and (end == len(text) or text[end] in _SPACES)
