"""``python -m benchmarks.embedding``: the bare model: texts in, vectors out, nothing around it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from uuid import UUID

import psutil

from benchmarks.chunking import documents
from benchmarks.harness import percentile
from benchmarks.rows import Row
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.settings import Settings
from datadistiller.wiring.adapters import choose_embedder

CHUNKS = 600
QUESTIONS = 300
_BATCH = 32  # as the embed stage takes them


@dataclass(frozen=True, slots=True)
class Rate:
    """What embedding some texts took; ``tokens`` are real ones, special tokens included."""

    texts: int
    tokens: int
    cpu_seconds: float  # over all processes
    wall_seconds: float  # of the slowest process, loading the model left out

    @property
    def per_second(self) -> float:
        """Texts a second."""
        return self.texts / self.wall_seconds

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second."""
        return self.tokens / self.wall_seconds


def _embed(texts: Sequence[str], threads: int) -> tuple[float, float]:
    model = choose_embedder(threads=threads)
    model.embed(texts[:8])
    cpu, wall = time.process_time(), time.perf_counter()
    for at in range(0, len(texts), _BATCH):
        model.embed(texts[at : at + _BATCH])
    return time.process_time() - cpu, time.perf_counter() - wall


def bare_rate(texts: Sequence[str], processes: int = 2, threads: int = 1) -> Rate:
    """Embeds ``texts``, dealt out over processes that compute with ``threads`` threads each."""
    tokens = sum(WordpieceTokenizer().count(texts))
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        shares = [pool.submit(_embed, texts[n::processes], threads) for n in range(processes)]
        results = [share.result() for share in shares]
    return Rate(len(texts), tokens, sum(cpu for cpu, _ in results), max(wall for _, wall in results))


def chunk_texts() -> list[str]:
    """What the product would embed of the benchmark's documents, an even selection."""
    chunker = Chunker(WordpieceTokenizer(), Settings().chunk_tokens)
    found = [c.indexed_text for _, document in documents() for c in chunker.chunk(UUID(int=0), document, "file.txt")]
    return found[:: max(1, len(found) // CHUNKS)]


def question_ms() -> list[float]:
    """Milliseconds of single questions."""
    model = choose_embedder()
    taken = []
    for n in range(QUESTIONS):
        begun = time.perf_counter()
        model.embed_question(f"How much did net sales of segment {n} rise in the third quarter?")
        taken.append(1000 * (time.perf_counter() - begun))
    return taken


def measure() -> list[Row]:
    """Chunks and tokens a second, one question, memory."""
    texts, rows = chunk_texts(), []
    for processes, threads in ((2, 1), (1, 2), (1, 1)):
        rate = bare_rate(texts, processes, threads)
        what = f"bare model, {processes} process(es) x {threads} thread(s)"
        rows.append(Row(what, "", f"{rate.per_second:.1f} chunks/s, {rate.tokens_per_second:,.0f} tokens/s"))
    taken = question_ms()
    rows.append(
        Row("embedding a question, p50 / p95", "", f"{percentile(taken, 0.5):.2f} / {percentile(taken, 0.95):.2f} ms")
    )
    memory = psutil.Process().memory_full_info().uss / 1e6
    return [*rows, Row("memory of a process with the model (USS)", "", f"{memory:.0f} MB")]


if __name__ == "__main__":
    for row in measure():
        print(f"{row.what}: {row.figure}")
