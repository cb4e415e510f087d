"""``python -m benchmarks.engine [SECONDS] [--quality]``: the embedding engines beside each other in one run.

All engines take turns, so that whatever else the machine does hits them alike; the figures are medians of the turns.
OpenVINO and CTranslate2 take turns too where they are installed (``engine_peers.py``). Last, ONNX Runtime and the
native engine's narrower kernels are compared with AVX-512 masked for both (``engine_masked.py``). ``--quality``
compares what search finds with vectors in full precision instead (minutes).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import engine_masked, engine_peers
from benchmarks.embedding import chunk_texts
from benchmarks.harness import DATA
from benchmarks.rows import Row
from datadistiller.embedding import artifact
from datadistiller.embedding.native.engine import Engine
from datadistiller.embedding.onnx import OnnxEncoder
from datadistiller.embedding.wordpiece import WordpieceTokenizer

SECONDS = 60.0
BATCH = 32  # as the embed stage takes them
QUESTION = "How much did net sales of the segment rise in the third quarter?"
COLLECTIONS = ("scifact_train", "cranfield")
RESAMPLES, DOCUMENTS = 2000, 2000

Ids = Sequence[Sequence[int]]
Encode = Callable[[Ids], NDArray[np.float32]]


def engines(kernels: str = "auto") -> dict[str, Encode]:
    """What takes turns: engine, kernels and threads."""
    card = artifact.read()
    found: dict[str, Encode] = {}
    onnx = OnnxEncoder(card, 1).encode
    engine = Engine(card.model.path, kernels)
    for threads in (1, 2):
        found[f"ONNX Runtime, {threads}"] = onnx if threads == 1 else by_two(onnx)
        found[f"native {engine.kernels}, {threads}"] = lambda ids, threads=threads: engine.encode(ids, threads)  # type: ignore[misc]
    return found


def chunk_ids() -> list[list[int]]:
    """What is embedded: the chunks of real documents."""
    return WordpieceTokenizer().ids(chunk_texts())


def peers(texts: Ids, folder: Path) -> dict[str, Encode]:
    """The other engines that are installed, by threads; each is looked at whether it computes the model."""
    found = engine_peers.encoders(texts, folder)
    some = texts[:BATCH]
    engine_peers.check(found, some, Engine(artifact.read().model.path).encode(some))
    return {f"{name}, {n}": encode if n == 1 else by_two(encode) for name, encode in found.items() for n in (1, 2)}


def by_two(encode: Encode) -> Encode:
    """Two callers at once: ONNX Runtime makes more of two cores so than with two threads of its own."""
    pool = ThreadPoolExecutor(2)

    def both(ids: Ids) -> NDArray[np.float32]:
        halves = pool.map(encode, (ids[::2], ids[1::2]))
        vectors = np.empty((len(ids), artifact.read().dim), np.float32)
        vectors[::2], vectors[1::2] = halves
        return vectors

    return both


def rates(found: dict[str, Encode], ids: Ids, seconds: float) -> dict[str, tuple[float, float]]:
    """Tokens a second of wall and of processor time, medians over turns of a batch each."""
    turns: dict[str, list[tuple[float, float]]] = {name: [] for name in found}
    begun, at = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        batch = [ids[(at + n) % len(ids)] for n in range(BATCH)]
        tokens, at = sum(map(len, batch)), at + BATCH
        for name, encode in found.items():
            wall, cpu = time.perf_counter(), time.process_time()
            encode(batch)
            turns[name].append((tokens / (time.perf_counter() - wall), tokens / (time.process_time() - cpu)))
    return {
        name: (statistics.median(wall for wall, _ in each), statistics.median(cpu for _, cpu in each))
        for name, each in turns.items()
    }


def figures(found: dict[str, Encode], ids: Ids, seconds: float) -> dict[str, str]:
    """What the rates say, beside that of ONNX Runtime with as many threads."""
    mean, measured = sum(map(len, ids)) / len(ids), rates(found, ids, seconds)
    return {
        name: f"{wall:,.0f} tokens/s, {wall / mean:.0f} chunks/s, "
        f"{wall / measured[f'ONNX Runtime, {name[-1]}'][0]:.2f} x ONNX Runtime; {cpu:,.0f} per CPU second"
        for name, (wall, cpu) in measured.items()
    }


def question_ms(encode: Encode, ids: Sequence[int]) -> float:
    """Milliseconds of one question, median."""
    taken = []
    for _ in range(100):
        begun = time.perf_counter()
        encode([ids])
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken)


def footprint(engine: str) -> tuple[float, float, float]:
    """Of a fresh process with the embedder open and used: milliseconds to open it, MB resident, MB of its own."""
    code = f"""
import time, psutil
from datadistiller.embedding.{engine} import *
begun = time.perf_counter()
embedder = {"NativeEmbedder" if "native" in engine else "OnnxEmbedder"}(1)
opened = time.perf_counter() - begun
embedder.embed(["What a worker does. " * 40] * 32)
memory = psutil.Process().memory_full_info()
print(1000 * opened, memory.rss / 1e6, memory.uss / 1e6)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    opened, resident, own = map(float, done.stdout.split())
    return opened, resident, own


def measure(seconds: float = SECONDS) -> list[Row]:
    """Tokens and chunks a second, a question, opening, memory."""
    texts, tokenizer = chunk_texts(), WordpieceTokenizer()
    ids, [question] = tokenizer.ids(texts), tokenizer.ids([QUESTION])
    with tempfile.TemporaryDirectory() as folder:
        found = engines() | peers(ids, Path(folder))
        rows = [Row(f"{name} thread(s)", "", figure) for name, figure in figures(found, ids, seconds).items()]
        rows += [
            Row(name, "", f"not measured: {parts} is not installed") for name, parts in engine_peers.missing().items()
        ]
        for name in (name for name in found if name.endswith("1")):
            figure = f"{question_ms(found[name], question):.2f} ms"
            rows.append(Row(f"{name[:-3]}: a question of {len(question)} tokens, p50", "", figure))
        (masked := Path(folder) / "masked").mkdir()
        rows += engine_masked.rows(seconds / 4, masked)
    for engine in ("native.embedder", "onnx"):
        opened, resident, own = footprint(engine)
        figure = f"{opened:.0f} ms, {resident:.0f} MB, {own:.0f} MB"
        rows.append(Row(f"{engine}: opening, resident memory, memory of its own", "", figure))
    begun = time.perf_counter()
    tokenizer.ids(texts)
    rate = sum(map(len, ids)) / (time.perf_counter() - begun)
    return [*rows, Row("tokenizer, one thread", "", f"{rate:,.0f} tokens/s")]


def quality() -> list[Row]:
    """nDCG@10 of exact search with each engine's vectors, and the loss to full precision, resampled over questions."""
    with tempfile.TemporaryDirectory() as folder:
        found = {"full precision": full_precision(Path(folder))} | {
            name[:-3]: encode for name, encode in engines().items() if name.endswith(" 1")
        }
        return [row for name in COLLECTIONS for row in quality_of(name, found)]


def quality_of(name: str, found: dict[str, Encode]) -> list[Row]:
    """The rows of a collection."""
    corpus, queries = (_lines(DATA / "retrieval" / name / f"{part}.jsonl") for part in ("corpus", "queries"))
    judged: dict[str, dict[str, float]] = {}
    for line in (DATA / "retrieval" / name / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")[-3:]
        judged.setdefault(query, {})[document] = float(grade)
    relevant = {document for each in judged.values() for document in each}
    corpus = sorted(corpus, key=lambda document: str(document["_id"]) not in relevant)[:DOCUMENTS]  # judged ones first
    tokenizer = WordpieceTokenizer()
    documents = _cut(tokenizer.ids([f"{d.get('title', '')} {d['text']}".strip() for d in corpus]))
    asked = [q for q in queries if judged.get(str(q["_id"]))]
    questions = _cut(tokenizer.ids([str(q["text"]) for q in asked]))
    gains = {}
    for engine, encode in found.items():
        scores = encode(questions) @ encode(documents).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
        gains[engine] = np.array(
            [
                _ndcg([str(corpus[d]["_id"]) for d in row], judged[str(q["_id"])])
                for q, row in zip(asked, best, strict=True)
            ]
        )
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(asked), (RESAMPLES, len(asked)))
    rows = []
    for engine, each in gains.items():
        low, high = np.quantile((each - gains["full precision"])[picks].mean(axis=1), [0.025, 0.975])
        figure = f"{each.mean():.4f}, difference to full precision {low:+.4f} to {high:+.4f} (95 %)"
        rows.append(Row(f"{name}: nDCG@10, {engine}", "", figure))
    return rows


def full_precision(folder: Path) -> Encode:
    """The published model without any rounding, through ONNX Runtime."""
    import onnx
    import onnxruntime

    from tools.build_model import fetch, original, sources
    from tools.minilm_graph import minilm_graph

    onnx.save(minilm_graph(original(sources(fetch(folder), folder))), folder / "plain.onnx")
    session = onnxruntime.InferenceSession(folder / "plain.onnx")

    def encode(ids: Ids) -> NDArray[np.float32]:
        arrays = (np.array([each], np.int64) for each in ids)
        return np.vstack([session.run(None, {"input_ids": a, "attention_mask": np.ones_like(a)})[0] for a in arrays])

    return encode


def _ndcg(found: Sequence[str], judged: dict[str, float]) -> float:
    discounts = 1 / np.log2(np.arange(2, 12))
    ideal = sorted(judged.values(), reverse=True)[:10]
    gained = sum(judged.get(document, 0) * discount for document, discount in zip(found, discounts, strict=False))
    return float(gained / sum(grade * discount for grade, discount in zip(ideal, discounts, strict=False)))


def _cut(ids: Ids) -> Ids:
    window = artifact.read().window
    return [[*each[: window - 1], each[-1]] if len(each) > window else each for each in ids]


def _lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=float, default=SECONDS, help="of the turns together")
    parser.add_argument("--quality", action="store_true", help="what search finds, instead of how fast")
    arguments = parser.parse_args()
    for row in quality() if arguments.quality else measure(arguments.seconds):
        print(f"{row.what}: {row.figure}")


if __name__ == "__main__":
    main()
