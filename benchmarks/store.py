"""What the store costs per chunk, without any model: ``python -m benchmarks.store [chunks]``.

One document of so many chunks (5,000 if not given) is ingested, claimed and settled in batches, and acknowledged,
on the embedded PostgreSQL with its ordinary, durable settings. CPU is that of this process and of the server
together. A queue of other documents waits behind, as it does in life.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import numpy as np
import psutil

from benchmarks.database import fresh_database
from datadistiller import messages, model
from datadistiller.store.changes import START, Changes
from datadistiller.store.database import Database
from datadistiller.store.embedded import EmbeddedPostgres
from datadistiller.store.jobs import Jobs, NewJob
from datadistiller.store.messages import Limits, Messages
from datadistiller.store.models import Models
from datadistiller.store.workers import Workers

DIM = 384
LIMITS = Limits(tries=5, solo_crashes=5)
WAITING = 20_000  # chunks of other documents, interactive ones overtake them
ACKNOWLEDGED = 256  # chunks of one commit of the index
TEXT = "The quick brown fox jumps over the lazy dog, again and again, until the page is full. " * 9


class Costs:
    """Prints wall and CPU milliseconds per item of a block."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server

    @asynccontextmanager
    async def of(self, name: str, items: int) -> AsyncIterator[None]:
        """Measures what happens inside."""
        wall, cpu = time.perf_counter(), self._cpu()
        yield
        wall, cpu = time.perf_counter() - wall, self._cpu() - cpu
        print(f"{name:<44} {1000 * wall / items:8.3f} ms wall {1000 * cpu / items:8.3f} ms CPU   x {items}")

    def _cpu(self) -> float:
        postmaster = psutil.Process(self._server.pid)
        times = [p.cpu_times() for p in (postmaster, *postmaster.children(), psutil.Process())]
        return float(sum(t.user + t.system for t in times))


def document(job_id: UUID, chunks: int) -> messages.Ingested:
    """A document of so many chunks, ten on a page."""
    texts = [f"{n} {TEXT}"[:750] for n in range(chunks)]
    pages, made = [], []
    for page in range((chunks + 9) // 10):
        mine = texts[10 * page : 10 * page + 10]
        pages.append(model.Page(number=page + 1, text="\n".join(mine)))
        start = 0
        for n, text in enumerate(mine, 10 * page):
            chunk_id = model.make_chunk_id(job_id, n, text)
            made.append(model.Chunk(chunk_id, n, page + 1, start, start + len(text), text, "A title", 180))
            start += len(text) + 1
    return messages.Ingested(model.ParsedDocument(pages, "A title", "benchmark", "text/plain"), made)


class Bench:
    """The parts of the store and one worker."""

    def __init__(self, db: Database, costs: Costs) -> None:
        self._jobs, self._messages, self._changes = Jobs(db), Messages(db), Changes(db)
        self._models, self._workers = Models(db), Workers(db)
        self._costs = costs
        self._boot = uuid4()

    async def run(self, chunks: int) -> None:
        """All steps of the write path, one after the other."""
        await self._workers.register(self._boot, "benchmark", "all", 1)
        model_id = await self._models.activate("benchmark", DIM)
        await self._ingest(WAITING, model.Lane.BULK)
        async with self._costs.of("accept: per document", 200):
            for _ in range(200):
                await self._accept(model.Lane.BULK)
        async with self._costs.of("ingest: per chunk of one large document", chunks):
            job_id = await self._ingest(chunks, model.Lane.INTERACTIVE)
        vector = np.ones(DIM, np.float16)
        for batch, share in ((1, 20), (32, 1)):
            count = max(batch, chunks // share) if batch == 1 else chunks - chunks // 20
            async with self._costs.of(f"claim + settle: per chunk, {batch} at a time", count):
                await self._embed(count, batch, messages.Embedded(vector), model_id)
        await self._follow(START, chunks, model_id)
        job = await self._jobs.get(job_id)
        assert job.status == model.Status.COMPLETED, job
        await self._watch(model_id)

    async def _accept(self, lane: model.Lane) -> UUID:
        job_id = uuid4()
        new = NewJob(job_id, "file.txt", "default", "text/plain", 1, job_id.hex, f"uploads/{job_id}/file.txt", lane, {})
        await self._jobs.accept(new)
        return job_id

    async def _ingest(self, chunks: int, lane: model.Lane) -> UUID:
        job_id = await self._accept(lane)
        (delivery,) = await self._messages.claim(messages.INGEST_TOPIC, 1, self._boot, 900)
        assert delivery.job_id == job_id
        await self._messages.settle(LIMITS, [messages.Done(delivery, document(job_id, chunks))])
        return job_id

    async def _embed(self, count: int, batch: int, result: messages.Embedded, model_id: int) -> None:
        while count > 0:
            taken = await self._messages.claim(messages.CHUNK_TOPIC, min(batch, count), self._boot, 300)
            done = [messages.Done(delivery, result) for delivery in taken]
            assert not (await self._messages.settle(LIMITS, done, model_id)).refused
            count -= len(taken)

    async def _follow(self, position: str, chunks: int, model_id: int) -> None:
        numbers: list[int] = []
        async with self._costs.of("feed: per chunk", chunks):
            while True:
                page, position = await self._changes.since(position)
                if not page:
                    break
                numbers += page
        groups = [numbers[at : at + ACKNOWLEDGED] for at in range(0, len(numbers), ACKNOWLEDGED)]
        async with self._costs.of("read: per chunk", chunks):
            for group in groups:
                await self._changes.read(group, model_id)
        async with self._costs.of(f"acknowledge: per chunk, {ACKNOWLEDGED} at a time", chunks):
            for group in groups:
                await self._changes.acknowledge(group)

    async def _watch(self, model_id: int) -> None:
        held = [d.message_id for d in await self._messages.claim(messages.CHUNK_TOPIC, 64, self._boot, 300)]
        async with self._costs.of(f"reap: per look, {WAITING} messages wait", 50):
            for _ in range(50):
                await self._messages.reap(8, {messages.CHUNK_TOPIC: LIMITS})
        async with self._costs.of("held: per look at 64 messages", 50):
            for _ in range(50):
                await self._messages.held(self._boot, held)
        async with self._costs.of(f"depths: per look, {WAITING} messages wait", 20):
            for _ in range(20):
                await self._messages.depths()


async def main(chunks: int) -> None:
    """Starts a server of its own and runs everything on it."""
    async with fresh_database() as (server, db):
        await Bench(db, Costs(server)).run(chunks)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000))
