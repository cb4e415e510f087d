"""``python -m benchmarks.chunking``: CPU milliseconds of chunking per chunk, tokenising included, without parsing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from uuid import UUID

from benchmarks.harness import DATA
from benchmarks.rows import Row
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.model import Page, ParsedDocument
from datadistiller.settings import Settings

#: Test collections and how many of their entries are taken: pages of filings, encyclopedia paragraphs.
TEXTS = {"kg_rag_sec10q/corpus_pages.jsonl": 300, "squad2/corpus.jsonl": 600}


def texts(name: str) -> list[str]:
    """The texts of a test collection, as many as are taken."""
    lines = (DATA / "retrieval" / name).read_text(encoding="utf-8").splitlines()[: TEXTS[name]]
    return [str(json.loads(line)["text"]) for line in lines]


def documents() -> Iterator[tuple[str, ParsedDocument]]:
    """One document of many pages, one long page, and many short documents."""
    pages, paragraphs = (texts(name) for name in TEXTS)
    yield "pages", ParsedDocument([Page(n + 1, text) for n, text in enumerate(pages)], "Filing", "", "")
    yield "one long page", ParsedDocument([Page(1, "\n\n".join(paragraphs))], "Articles", "", "")
    for text in paragraphs:
        yield "short documents", ParsedDocument([Page(1, text)], "Article", "", "")


def measure() -> list[Row]:
    """Milliseconds a chunk by kind of document."""
    chunker = Chunker(WordpieceTokenizer(), Settings().chunk_tokens)
    spent: dict[str, float] = {}
    chunks: dict[str, int] = {}
    for kind, document in documents():
        begun = time.process_time()
        chunks[kind] = chunks.get(kind, 0) + len(chunker.chunk(UUID(int=0), document, "file.txt"))
        spent[kind] = spent.get(kind, 0.0) + time.process_time() - begun
    cost = 1000 * sum(spent.values()) / sum(chunks.values())
    parts = ", ".join(f"{kind} {1000 * spent[kind] / chunks[kind]:.2f}" for kind in spent)
    return [Row("CPU of chunking, per chunk", "<= 0.5 ms", f"{cost:.2f} ms ({parts})", cost <= 0.5)]


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what}: {row.figure} (bar: {row.bar}) {row.verdict}")
