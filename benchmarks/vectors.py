"""What finding vectors again brings, and what it costs when nothing is found: ``python -m benchmarks.vectors [cost]``.

The cost is measured on the store alone, where it would show: blocks of chunks are read and settled with and without
the keys of vectors, in turns on one server, beside ``LOADED`` chunks of other documents. No text comes twice.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import sys
import time
from uuid import uuid4

import numpy as np
import psutil

from benchmarks.database import fresh_database
from benchmarks.harness import Server, large_texts, running
from benchmarks.rows import Row
from datadistiller import messages, model
from datadistiller.store.chunks import Chunks
from datadistiller.store.database import Database
from datadistiller.store.embedded import EmbeddedPostgres
from datadistiller.store.jobs import Jobs, NewJob
from datadistiller.store.messages import Limits, Messages
from datadistiller.store.migrate import migrations
from datadistiller.store.models import Models
from datadistiller.store.workers import Workers

DIM = 384
LOADED = 100_000
BLOCK = 1_600  # chunks
PAIRS = 5
VOLUMES = 12
LIMITS = Limits(tries=5, solo_crashes=5)
_KEY = re.search(r"CREATE FUNCTION vector_key.*?\$\$;", migrations()[5][1], re.DOTALL)
assert _KEY
WITH = (_KEY[0].replace("CREATE", "CREATE OR REPLACE"), "CREATE INDEX chunk_vectors_key ON chunk_vectors (key)")
#: A key that is known to be none costs nothing: neither the look nor the index.
WITHOUT = (
    re.sub(r"\$\$.*\$\$", "$$ SELECT NULL::bytea $$", WITH[0], flags=re.DOTALL),
    "DROP INDEX IF EXISTS chunk_vectors_key",
)

#: A page of an index that is touched for the first time after a checkpoint goes to the log whole.
CASES = {"in between checkpoints": "SELECT 1", "just after one": "CHECKPOINT"}


class Bench:
    """The store with one worker, and real texts for it."""

    def __init__(self, server: EmbeddedPostgres, db: Database) -> None:
        self._server, self._db = server, db
        self._jobs, self._messages, self._chunks = Jobs(db), Messages(db), Chunks(db)
        self._boot, self._model_id, self._made = uuid4(), 0, 0

    async def fill(self) -> None:
        """Chunks of other documents."""
        await Workers(self._db).register(self._boot, "benchmark", "all", 1)
        self._model_id = await Models(self._db).activate("benchmark", DIM)
        for _ in range(LOADED // 10_000):
            await self._ingest(10_000)
            while await self._embed():
                pass

    async def compare(self, last: str) -> tuple[list[float], list[float]]:
        """Milliseconds of CPU per chunk, one figure a block: with keys, and without. ``last`` is done before each."""
        costs: tuple[list[float], list[float]] = ([], [])
        for _ in range(PAIRS):
            for cost, how in zip(costs, (WITHOUT, WITH), strict=True):
                for statement in (*how, "VACUUM ANALYZE", last):
                    await self._statement(statement)
                cost.append(await self._block())
        return costs[1], costs[0]

    async def sizes(self) -> tuple[float, float]:
        """Bytes a chunk: of the index as it has grown, and of the table with the keys in it."""
        index = "SELECT pg_relation_size('chunk_vectors_key')::float8 / count(*) AS n FROM chunk_vectors"
        table = "SELECT pg_relation_size('chunk_vectors')::float8 / count(*) AS n FROM chunk_vectors"
        async with self._db.connection() as conn:
            rows = [await (await conn.execute(s.encode())).fetchone() for s in (index, table)]
        return rows[0]["n"], rows[1]["n"]  # type: ignore[index]  # counts have a row

    async def _statement(self, statement: str) -> None:
        async with self._db.connection(limited=False) as conn:
            await conn.execute(b"SET statement_timeout = 0")
            await conn.execute(statement.encode())

    async def _block(self) -> float:
        await self._ingest(BLOCK)
        before = self._cpu()
        while await self._embed():
            pass
        return 1000 * (self._cpu() - before) / BLOCK

    async def _ingest(self, chunks: int) -> None:
        job_id = uuid4()
        await self._jobs.accept(NewJob(job_id, "a.txt", "c", "text/plain", 1, job_id.hex, "k", model.Lane.BULK, {}))
        (delivery,) = await self._messages.claim(messages.INGEST_TOPIC, 1, self._boot, 900)
        made = []
        for n in range(chunks):
            self._made += 1
            text = f"{self._made} " + "The quick brown fox jumps over the lazy dog, until the page is full. " * 10
            made.append(model.Chunk(model.make_chunk_id(job_id, n, text), n, 1, 0, len(text), text, "A title", 180))
        document = model.ParsedDocument([model.Page(1, "text")], "A title", "benchmark", "text/plain")
        await self._messages.settle(LIMITS, [messages.Done(delivery, messages.Ingested(document, made))])

    async def _embed(self) -> bool:
        """What a worker does with a batch, but for the model."""
        batch = await self._messages.claim(messages.CHUNK_TOPIC, 32, self._boot, 300)
        if not batch:
            return False
        texts = await self._chunks.texts([d.chunk_id for d in batch if d.chunk_id], self._model_id)
        assert len(texts) == len(batch) and not [t for t in texts.values() if t.vector is not None]
        vector = messages.Embedded(np.ones(DIM, np.float16))
        done = [messages.Done(delivery, vector) for delivery in batch]
        assert not (await self._messages.settle(LIMITS, done, self._model_id)).refused
        return True

    def _cpu(self) -> float:
        postmaster = psutil.Process(self._server.pid)
        times = [p.cpu_times() for p in (postmaster, *postmaster.children(), psutil.Process())]
        return float(sum(t.user + t.system for t in times))


async def cost_rows() -> list[Row]:
    """What reading and settling cost when no text is known."""
    async with fresh_database() as (server, db):
        bench = Bench(server, db)
        await bench.fill()
        grown = await bench.sizes()
        costs = {when: await bench.compare(last) for when, last in CASES.items()}
    rows = [
        Row(f"CPU per chunk around the model, with / without looking for its vector, {when}", "", _ratio(*both))
        for when, both in costs.items()
    ]
    sizes = f"index {grown[0]:.0f}, table with the keys {grown[1]:.0f} bytes a chunk"
    return [*rows, Row(f"keys of {LOADED:,} vectors", "", sizes)]


def _ratio(ours: list[float], bare: list[float]) -> str:
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    middles = f"{statistics.median(ours):.3f} / {statistics.median(bare):.3f} ms = {statistics.median(ratios):.2f}"
    return f"{middles} (pairs: {min(ratios):.2f} to {max(ratios):.2f})"


def counted(server: Server) -> dict[str, float]:
    """Vectors by where they came from, of all processes."""
    found = re.findall(r'datadistiller_vectors_total\{source="(\w+)"\} (\S+)', server.http.get("/metrics").text)
    return {source: float(number) for source, number in found}


def round_of(server: Server, files: list[tuple[str, bytes]], collection: str) -> tuple[float, float, float]:
    """Takes files in: seconds, the share of vectors that were not computed, and how many were, per file."""
    before, begun = counted(server), time.perf_counter()
    server.wait(server.upload_all(files, collection=collection), look_seconds=0.05)
    wall = time.perf_counter() - begun
    after = counted(server)
    gone = {source: number - before.get(source, 0) for source, number in after.items()}
    return wall, 1 - gone["computed"] / sum(gone.values()), gone["computed"] / len(files)


def hit_rows() -> list[Row]:
    """Texts of 100 kB: new, each with a sentence changed in its middle, and all of them in another collection."""
    files = large_texts(VOLUMES)
    changed = [(name, _edited(content)) for name, content in files]
    with running() as server:
        rounds = [
            ("new", round_of(server, files, "a")),
            ("one sentence changed in each", round_of(server, changed, "a")),
            ("again in another collection", round_of(server, changed, "b")),
        ]
    new = rounds[0][1][0]
    return [
        Row(
            f"{VOLUMES} texts of 100 kB, {what}: found again",
            "",
            f"{rate:.1%}, {computed:.1f} chunks embedded a file, {wall:.1f} s ({wall / new:.2f} of new)",
        )
        for what, (wall, rate, computed) in rounds
    ]


def _edited(content: bytes) -> bytes:
    middle = content.index(b". ", len(content) // 2)
    return content[:middle] + b", as somebody added later on when it was read again" + content[middle:]


def measure() -> list[Row]:
    """Hit rates, and the cost without hits."""
    return hit_rows() + asyncio.run(cost_rows())


if __name__ == "__main__":
    for row in asyncio.run(cost_rows()) if sys.argv[1:] == ["cost"] else measure():
        print(f"{row.what}: {row.figure}")
