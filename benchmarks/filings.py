"""``python -m benchmarks.filings``: questions about figures in quarterly reports, from the PDF files to the answer.

The files of DATADISTILLER_DATA/filings are read, cut, embedded and indexed by the product's own code (only PostgreSQL
is left out), and the questions of ``retrieval/kg_rag_sec10q`` whose gold answer holds a figure are asked. The *right
pages* of a question are the pages of its source documents that hold a figure of its gold answer, by the page texts
that come with the collection (so that no parser of ours decides). Shares of questions: a right page among the first
five passages; a gold figure in their text; a gold figure in the answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid5

from benchmarks.harness import DATA
from benchmarks.retrieval import COMMIT_CHUNKS, NAMESPACE, MemoryChunks, embedded, settings_for
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.indexing import Entry
from datadistiller.model import Chunk, Passage
from datadistiller.parsing import formats
from datadistiller.query.answer import Ask
from datadistiller.query.search import Search
from datadistiller.runtime.sandbox import Limits, Sandbox
from datadistiller.settings import Settings
from datadistiller.wiring.adapters import choose_embedder, open_index

SET = DATA / "retrieval" / "kg_rag_sec10q"
TOP = 5
#: What counts as a figure: digits with a comma or a point among them; not a year, a day, a count.
FIGURE = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+")


@dataclass(frozen=True)
class Question:
    """A question, the figures of its gold answer, and the pages (document, number from 1) that hold one."""

    text: str
    figures: frozenset[str]
    pages: frozenset[tuple[str, int]]


def records(name: str) -> list[dict[str, object]]:
    """The records of a file of the collection."""
    return [json.loads(line) for line in (SET / name).read_text("utf-8").splitlines()]


def questions() -> list[Question]:
    """Those whose figures stand on a page of their source documents."""
    texts = {str(record["_id"]): str(record["text"]) for record in records("queries.jsonl")}
    pages: defaultdict[str, dict[int, set[str]]] = defaultdict(dict)
    for record in records("corpus_pages.jsonl"):
        document, number = str(record["_id"]).rsplit("#p", 1)
        pages[document][int(number) + 1] = set(FIGURE.findall(str(record["text"])))
    found = []
    for record in records("answers.jsonl"):
        figures = set(FIGURE.findall(str(record["answer"])))
        sources = [str(name) for name in record["source_docs"]]  # type: ignore[attr-defined]
        right = {(name, number) for name in sources for number, held in pages[name].items() if figures & held}
        if right:
            found.append(Question(texts[str(record["_id"])], frozenset(figures), frozenset(right)))
    return found


async def chunks() -> dict[str, list[Chunk]]:
    """The chunks of each report, by its name."""
    chunker = Chunker(WordpieceTokenizer(), Settings().chunk_tokens)
    sandbox = Sandbox(Limits())
    try:
        found = {}
        for path in sorted((DATA / "filings").glob("*.pdf")):
            document = await sandbox.parse(path, formats.PDF)
            found[path.stem] = chunker.chunk(uuid5(NAMESPACE, path.stem), document, path.name)
        return found
    finally:
        await sandbox.close()


async def measure(folder: Path) -> dict[str, float]:
    """The shares, with how many questions and chunks there are and how long embedding took, seconds."""
    embedder = choose_embedder()
    names, memory, entries = {}, MemoryChunks(), []
    flat = [
        (number, name, chunk) for number, (name, found) in enumerate((await chunks()).items(), 1) for chunk in found
    ]
    started = time.perf_counter()
    vectors = embedded("filings", embedder, [chunk.indexed_text for _, _, chunk in flat])
    seconds = time.perf_counter() - started
    for number, (job_no, name, chunk) in enumerate(flat, 1):
        job_id = uuid5(NAMESPACE, name)
        names[job_id] = name
        entries.append(Entry(number, chunk.chunk_id, job_no, vectors[number - 1], chunk.context, chunk.text))
        memory.known[number] = Passage(
            number, chunk.chunk_id, job_id, name, "filings", {}, chunk.page, "", chunk.start, chunk.end,
            chunk.text, chunk.context, 0.0,
        )  # fmt: skip
    counts = dict.fromkeys(("right page", "in passages", "in answer"), 0)
    asked = questions()
    async with open_index(settings_for("filings", folder, "local:"), embedder.fingerprint, embedder.dim) as index:
        for at in range(0, len(entries), COMMIT_CHUNKS):
            await index.add(entries[at : at + COMMIT_CHUNKS])
            await index.commit()
        ask = Ask(Search(index, memory, embedder))
        for question in asked:
            answer = await ask.ask(question.text, TOP)
            places = {(names[passage.job_id], passage.page) for passage in answer.citations}
            passages = " ".join(passage.text for passage in answer.citations)
            sentences = " ".join(sentence.text for sentence in answer.sentences)
            counts["right page"] += bool(places & question.pages)
            counts["in passages"] += bool(question.figures & set(FIGURE.findall(passages)))
            counts["in answer"] += bool(question.figures & set(FIGURE.findall(sentences)))
    shares = {name: count / len(asked) for name, count in counts.items()}
    return {**shares, "questions": len(asked), "chunks": len(flat), "embedding": seconds}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        for name, value in asyncio.run(measure(Path(temporary))).items():
            print(f"{name:12} {value:.3f}" if value <= 1 else f"{name:12} {value:,.0f}")
