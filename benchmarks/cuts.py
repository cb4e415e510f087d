"""``python -m benchmarks.cuts [--save FILE] [--against FILE]``: what the places of the cuts do to search.

The paragraphs of each squad2 article are joined to one long page. Asked are the questions that it answers; counted
is the reciprocal rank of the first chunk that holds a gold answer as a whole. ``--save`` keeps these per question;
``--against`` compares with such a file, question by question, with an interval from 10,000 resamplings. Run it with
another version of the product first on ``PYTHONPATH`` to compare two.

Then what an edit costs: of a page of paragraphs of made-up words one is taken away, ``EDITS`` times; printed are how
many chunks are new in half, three quarters and nine tenths of the cases, and how far sizes spread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np

from benchmarks.harness import DATA
from benchmarks.retrieval import World, built, gold, settings_for
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.model import Chunk, Mode, Page, ParsedDocument
from datadistiller.query import evaluation
from datadistiller.settings import Settings
from datadistiller.wiring.adapters import choose_embedder

NAME = "squad2"
DEPTH = 20  # passages looked at
RESAMPLINGS = 10_000
EDITS = 100
WORDS = ["lamp", "keeper", "harbour", "rope", "tide", "barrel", "ship", "bell", "storm", "salt", "engine", "island"]
#: Words in a paragraph, at least and at most, and how many paragraphs a page has.
PAGES = {"lines": (3, 9, 300), "short paragraphs": (20, 60, 80), "paragraphs": (60, 150, 40)}


@dataclass(frozen=True)
class Joined:
    """Articles as documents, and where in them each question's gold answers stand."""

    data: evaluation.TestCollection
    places: dict[str, tuple[str, list[tuple[int, int]]]]  # by question: document, ranges of characters


def joined(data: evaluation.TestCollection) -> Joined:
    """The collection with the paragraphs of each title as one document."""
    articles: dict[str, list[str]] = {}
    starts: dict[str, tuple[str, int]] = {}
    for document in data.documents:
        paragraphs = articles.setdefault(document.title, [])
        starts[document.doc_id] = (document.title, sum(len(text) + 2 for text in paragraphs))
        paragraphs.append(document.text)
    places = {}
    for question, record in gold(NAME).items():
        if not record.get("is_impossible"):
            title, start = starts[record["corpus_id"]]
            spans = [(start + answer["answer_start"], len(answer["text"])) for answer in record["answers"]]
            places[question] = (title, [(at, at + length) for at, length in spans])
    documents = [evaluation.Document(title, title, "\n\n".join(texts)) for title, texts in articles.items()]
    return Joined(evaluation.TestCollection(documents, data.queries, {}), places)


async def ranks(world: World, places: dict[str, tuple[str, list[tuple[int, int]]]]) -> dict[str, float]:
    """By question: 1 / the rank of the first passage with an answer, 0 if none of the first ``DEPTH`` has one."""
    found = {}
    for question, (document, ranges) in places.items():
        answer = await world.ask.ask(world.data.queries[question], DEPTH, Mode.HYBRID, answer=False)
        body = world.body_at[document]
        held = (
            world.documents[passage.job_id] == document
            and any(passage.start <= body + a and body + b <= passage.end for a, b in ranges)
            for passage in answer.citations
        )
        found[question] = next((1 / rank for rank, here in enumerate(held, 1) if here), 0.0)
    return found


def compared(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """The mean difference, and where 95 % of its resamplings lie."""
    differences = np.array([ours[question] - theirs[question] for question in ours])
    dice = np.random.default_rng(7)
    means = [float(dice.choice(differences, len(differences)).mean()) for _ in range(RESAMPLINGS)]
    low, high = np.quantile(means, [0.025, 0.975])
    return f"difference {differences.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def chunks(paragraphs: list[str]) -> list[Chunk]:
    """The chunks of a page of paragraphs."""
    document = ParsedDocument([Page(1, "\n\n".join(paragraphs))], "A diary", "benchmark", "text/plain")
    return Chunker(WordpieceTokenizer(), Settings().chunk_tokens).chunk(UUID(int=1), document, "diary.txt")


def edits() -> None:
    """Prints what taking a paragraph away costs, by kind of page."""
    dice = random.Random(20)
    for kind, (least, most, count) in PAGES.items():
        costs, sizes = [], []
        for _ in range(EDITS):
            page = [" ".join(dice.choices(WORDS, k=dice.randint(least, most))) + "." for _ in range(count)]
            at = dice.randrange(count // 8, count // 4)
            before, after = chunks(page), chunks(page[:at] + page[at + 1 :])
            sizes += [chunk.tokens for chunk in before]
            costs.append(len({chunk.text for chunk in after} - {chunk.text for chunk in before}))
        shares = [evaluation.percentile(costs, share) for share in (0.5, 0.75, 0.9)]
        spread = f"{statistics.fmean(sizes):.0f} tokens, deviation {statistics.pstdev(sizes):.0f}"
        print(f"{kind}: {shares} new chunks; {spread}")


async def measured() -> tuple[list[int], dict[str, float]]:
    """The sizes of the chunks in characters, and what ``ranks`` says."""
    whole = joined(evaluation.read_collection(DATA / "retrieval" / NAME))
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_for("joined", Path(folder), "local:")
        async with built("joined", settings, choose_embedder(), whole.data) as world:
            sizes = [len(passage.text) for passage in world.chunks.known.values()]
            return sizes, await ranks(world, whole.places)


def main(save: Path | None, against: Path | None) -> None:
    """Prints the figures."""
    edits()
    sizes, found = asyncio.run(measured())
    print(f"{len(sizes)} chunks, {statistics.fmean(sizes):.0f} characters (deviation {statistics.pstdev(sizes):.0f})")
    print(f"{len(found)} questions, MRR {statistics.fmean(found.values()):.4f}")
    if save:
        save.write_text(json.dumps(found), encoding="utf-8")
    if against:
        print(compared(found, json.loads(against.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--against", type=Path)
    arguments = parser.parse_args()
    main(arguments.save, arguments.against)
