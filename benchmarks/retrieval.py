"""``python -m benchmarks.retrieval [NAME ...]``: search quality on public test collections, in this process.

Names are folders of DATADISTILLER_DATA/retrieval; without names those the fusion was chosen on and those held out.
``--index opensearch://...`` measures on that instead of the local index. ``--answers`` measures extractive answers
instead: whether their sentences hold the gold answer, and how often questions whose documents are not there are
refused. Vectors are kept in the temporary folder between runs.

Everything from chunking to the answer is the product's own code; only PostgreSQL is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import statistics
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import DATA
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding import Embedder
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.indexing import Entry, Index
from datadistiller.model import Block, BlockKind, Mode, Page, ParsedDocument, Passage
from datadistiller.query import evaluation
from datadistiller.query.answer import Ask
from datadistiller.query.search import Search
from datadistiller.settings import Settings
from datadistiller.store.chunks import Chunks
from datadistiller.wiring.adapters import choose_embedder, open_index

CHOSEN_ON = ("scifact_train", "med", "time")
HELD_OUT = ("cranfield", "cisi", "cacm", "squad2", "xquad_en", "xquad_de", "xquad_es")
ANSWERED = ("squad2", "xquad_en", "xquad_de", "xquad_es")
FOREIGN = ("cranfield", "med", "scifact_train", "cisi")
#: nDCG@10 of the best peer's hybrid search on the same model.
BARS = {"scifact_train": 0.714, "cranfield": 0.427}
COMMIT_CHUNKS = 2048
CACHE = Path(tempfile.gettempdir()) / "datadistiller-retrieval"
NAMESPACE = UUID(int=0)


class MemoryChunks(Chunks):
    """The chunks of a benchmark, without a database. Collections are given as job numbers."""

    def __init__(self) -> None:
        self.known: dict[int, Passage] = {}
        self.collections: dict[str, list[int]] = {}

    async def passages(self, chunk_nos: Sequence[int], located: int | None = None) -> list[Passage]:
        """The passages, in order."""
        return [self.known[number] for number in chunk_nos if number in self.known]

    async def allowed_jobs(self, collection: str | None, filter: Mapping[str, Any] | None) -> NDArray[np.int64] | None:
        """The jobs of a collection."""
        return None if collection is None else np.array(sorted(self.collections[collection]), np.int64)


@dataclass(frozen=True)
class World:
    """A test collection, chunked, embedded and indexed."""

    name: str
    data: evaluation.TestCollection
    documents: dict[UUID, str]  # document ids by job id
    numbers: dict[str, int]  # job numbers by document id
    body_at: dict[str, int]  # where a document's own text starts in its page
    chunks: MemoryChunks
    index: Index
    ask: Ask


def parsed(document: evaluation.Document) -> tuple[ParsedDocument, int]:
    """The document as the parser of Markdown gives it: the title as a heading, then its paragraphs."""
    title = " ".join(document.title.split())
    text = f"{title}\n\n{document.text}" if title else document.text
    body = len(text) - len(document.text)
    blocks = [Block(BlockKind.HEADING, 0, len(title), 1)] if title else []
    at = body
    for paragraph in document.text.split("\n\n"):
        if paragraph.strip():
            start = at + len(paragraph) - len(paragraph.lstrip())
            blocks.append(Block(BlockKind.PARAGRAPH, start, at + len(paragraph.rstrip())))
        at += len(paragraph) + 2
    return ParsedDocument([Page(1, text, blocks)], title, "benchmark", "text/markdown"), body


def embedded(name: str, embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float16]:
    """Vectors of the texts, from the cache if the same texts were embedded by the same model."""
    key = hashlib.sha256("\0".join([embedder.fingerprint, *texts]).encode()).hexdigest()[:16]
    file = CACHE / f"{name}-{key}.npy"
    if not file.exists():
        CACHE.mkdir(exist_ok=True)
        parts = [embedder.embed(texts[at : at + 512]) for at in range(0, len(texts), 512)]
        np.save(file, np.concatenate(parts).astype(np.float16))
    vectors: NDArray[np.float16] = np.load(file)
    return vectors


@asynccontextmanager
async def built(
    name: str, settings: Settings, embedder: Embedder, data: evaluation.TestCollection | None = None
) -> AsyncIterator[World]:
    """A collection that was taken in: ``data``, or the one of this name."""
    data = data or evaluation.read_collection(DATA / "retrieval" / name)
    chunker = Chunker(WordpieceTokenizer(), settings.chunk_tokens)
    chunks, found = MemoryChunks(), []
    documents, numbers, body_at = {}, {}, {}
    for job_no, document in enumerate(data.documents, 1):
        job_id = uuid5(NAMESPACE, document.doc_id)
        content, body_at[document.doc_id] = parsed(document)
        documents[job_id], numbers[document.doc_id] = document.doc_id, job_no
        found += [(job_no, job_id, chunk) for chunk in chunker.chunk(job_id, content, "document.md")]
    vectors = embedded(name, embedder, [chunk.indexed_text for _, _, chunk in found])
    entries = []
    for number, (job_no, job_id, chunk) in enumerate(found, 1):
        entries.append(Entry(number, chunk.chunk_id, job_no, vectors[number - 1], chunk.context, chunk.text))
        chunks.known[number] = Passage(
            number, chunk.chunk_id, job_id, documents[job_id], name, {}, chunk.page, "", chunk.start, chunk.end,
            chunk.text, chunk.context, 0.0,
        )  # fmt: skip
    async with open_index(settings, embedder.fingerprint, embedder.dim) as index:
        if not await index.lead():
            await index.begin_rebuild()
            await index.end_rebuild()
        for at in range(0, len(entries), COMMIT_CHUNKS):
            await index.add(entries[at : at + COMMIT_CHUNKS])
            await index.commit()
        ask = Ask(Search(index, chunks, embedder))
        yield World(name, data, documents, numbers, body_at, chunks, index, ask)


def settings_for(name: str, folder: Path, index_url: str) -> Settings:
    """The settings of a collection's own index."""
    url = index_url if index_url == "local:" else f"{index_url}/bench-{name.replace('_', '-')}"
    return Settings(data_dir=folder / name, index_url=url, opensearch_replicas=0)


async def quality(world: World, mode: Mode) -> dict[str, float]:
    """The metrics of one mode, and the median and 95th percentile of the time a question took."""
    run: dict[str, dict[str, float]] = {}
    took: list[float] = []
    for query, question in world.data.judged.items():
        answer = await world.ask.ask(question, 100, mode, answer=False)
        took.append(answer.took_ms)
        scores = run.setdefault(query, {})
        for passage in answer.citations:
            scores.setdefault(world.documents[passage.job_id], passage.score)
    metrics = evaluation.measure(run, world.data.qrels)
    return {**metrics, "p50_ms": evaluation.percentile(took, 0.5), "p95_ms": evaluation.percentile(took, 0.95)}


async def search_table(names: Sequence[str], folder: Path, index_url: str, embedder: Embedder) -> None:
    """Prints a line for each collection and mode."""
    columns = ("ndcg@10", "recall@5", "recall@10", "recall@100", "mrr@10", "p50_ms", "p95_ms")
    print(f"{'collection':16}{'mode':9}" + "".join(f"{column:>12}" for column in columns) + "  bar (nDCG@10)")
    for name in names:
        async with built(name, settings_for(name, folder, index_url), embedder) as world:
            for mode in (Mode.VECTOR, Mode.KEYWORD, Mode.HYBRID):
                found = await quality(world, mode)
                figures = "".join(
                    f"{found[column]:12.2f}" if "ms" in column else f"{found[column]:12.4f}" for column in columns
                )
                bar = BARS.get(name) if mode is Mode.HYBRID else None
                verdict = "" if bar is None else f"  {bar} {'reached' if found['ndcg@10'] > bar else 'missed'}"
                print(f"{name:16}{mode.value:9}{figures}{verdict}", flush=True)


def gold(name: str) -> dict[str, dict[str, Any]]:
    """The gold answers by question id."""
    lines = (DATA / "retrieval" / name / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    return {record["_id"]: record for record in map(json.loads, lines)}


async def answered_well(world: World, asked: Sequence[str], truth: Mapping[str, Any]) -> dict[str, float]:
    """Shares of questions: answered; answered with a sentence that holds the gold span, at its place."""
    answered = held = sentences = 0
    selecting: list[float] = []
    for query in asked:
        answer = await world.ask.ask(world.data.queries[query])
        record, body = truth[query], world.body_at[truth[query]["corpus_id"]]
        places = [
            (s.start - body, s.end - body)
            for s in answer.sentences
            if world.documents[answer.citations[s.citation - 1].job_id] == record["corpus_id"]
        ]
        answered += answer.answered
        sentences += len(answer.sentences)
        selecting.append(answer.timings_ms["answer"])
        spans = [(gold["answer_start"], gold["answer_start"] + len(gold["text"])) for gold in record["answers"]]
        held += any(start <= a and b <= end for start, end in places for a, b in spans)
    shares = {"answered": answered / len(asked), "gold held": held / len(asked)}
    return {
        **shares,
        "sentences": sentences / max(1, answered),
        "select p95 ms": evaluation.percentile(selecting, 0.95),
    }


async def refused(world: World, asked: Sequence[str], truth: Mapping[str, Any]) -> float:
    """Share of questions refused when every document on their subject (title) is left out."""
    titles = {document.doc_id: document.title for document in world.data.documents}
    count = 0
    for query in asked:
        subject = titles[truth[query]["corpus_id"]]
        allowed = [number for doc, number in world.numbers.items() if titles[doc] != subject]
        world.chunks.collections["others"] = allowed
        count += not (await world.ask.ask(world.data.queries[query], collection="others")).answered
    return count / len(asked)


async def refused_foreign(world: World, questions: Sequence[str]) -> float:
    """Share of another collection's questions that are refused."""
    return statistics.fmean([not (await world.ask.ask(question)).answered for question in questions])


async def answer_table(names: Sequence[str], folder: Path, index_url: str, embedder: Embedder) -> None:
    """Prints how good extractive answers are, and how well questions without an answer are told."""
    pick = random.Random(11)
    foreign = []
    for name in FOREIGN:
        questions = evaluation.read_collection(DATA / "retrieval" / name).queries.values()
        foreign += pick.sample(list(questions), min(60, len(questions)))
    for name in names:
        truth = gold(name)
        async with built(name, settings_for(name, folder, index_url), embedder) as world:
            possible = [query for query, record in truth.items() if not record.get("is_impossible")]
            asked = pick.sample(possible, min(600, len(possible)))
            print(name, {key: round(value, 3) for key, value in (await answered_well(world, asked, truth)).items()})
            print(f"  refused, all documents on the subject left out: {await refused(world, asked[:300], truth):.3f}")
            print(f"  refused, questions on something else: {await refused_foreign(world, foreign):.3f}")
            impossible = [query for query, record in truth.items() if record.get("is_impossible")][:600]
            if impossible:
                trick = await refused_foreign(world, [world.data.queries[query] for query in impossible])
                print(f"  refused, trick questions worded like the text: {trick:.3f}", flush=True)


def main() -> None:
    """Reads the arguments and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--answers", action="store_true", help="measure answers instead of rankings")
    parser.add_argument("--index", dest="index_url", default="local:", help="as DATADISTILLER_INDEX_URL")
    arguments = parser.parse_args()
    embedder = choose_embedder()
    table, names = (answer_table, ANSWERED) if arguments.answers else (search_table, CHOSEN_ON + HELD_OUT)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(table(arguments.names or names, Path(folder), arguments.index_url, embedder))


if __name__ == "__main__":
    main()
