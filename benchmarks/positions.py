"""What places and pictures cost: ``python -m benchmarks.positions [documents]``, on ``filings`` of DATADISTILLER_DATA.

So many reports (4 if not given) are read once. Then, with lines and without, in turns: what recording a document takes
per chunk, and looking up the passages of a question; CPU is that of this process and the server together. Last, the
bytes that lines take, and a picture.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from benchmarks.database import fresh_database
from benchmarks.harness import DATA
from benchmarks.store import LIMITS, Costs
from datadistiller import messages, model
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.parsing import drawing, formats
from datadistiller.query import places
from datadistiller.runtime.pictures import Picture, Pictures
from datadistiller.runtime.sandbox import Limits, Sandbox
from datadistiller.store import lines
from datadistiller.store.chunks import Chunks
from datadistiller.store.database import Database
from datadistiller.store.jobs import Jobs, NewJob
from datadistiller.store.messages import Messages

ROUNDS = 5
QUESTIONS = 500
TOP_K, LOOKED_UP = 5, 13  # passages of a question: shown, and looked up at once


async def read(paths: list[Path]) -> list[model.ParsedDocument]:
    """The reports as the parser gives them."""
    sandbox = Sandbox(Limits())
    try:
        return [await sandbox.parse(path, formats.PDF) for path in paths]
    finally:
        await sandbox.close()


async def record(db: Database, document: model.ParsedDocument, chunker: Chunker) -> messages.Done:
    """A document that was read, ready to be settled."""
    job_id = uuid4()
    new = NewJob(job_id, "a.pdf", "default", formats.PDF, 1, job_id.hex, f"uploads/{job_id}/a.pdf", model.Lane.BULK, {})
    await Jobs(db).accept(new)
    (delivery,) = await Messages(db).claim(messages.INGEST_TOPIC, 1, UUID(int=1), 900)
    return messages.Done(delivery, messages.Ingested(document, chunker.chunk(job_id, document, "a.pdf")))


async def recording(db: Database, costs: Costs, documents: list[model.ParsedDocument]) -> None:
    """Prints CPU per chunk with and without lines, in turns; the last documents stay and are findable."""
    chunker = Chunker(WordpieceTokenizer(), 200)
    bare = [replace(one, pages=[replace(page, size=None, lines=()) for page in one.pages]) for one in documents]
    for _ in range(ROUNDS):
        for name, what in (("without lines", bare), ("with lines", documents)):
            ready = [await record(db, document, chunker) for document in what]
            chunks = sum(len(done.result.chunks) for done in ready if isinstance(done.result, messages.Ingested))
            async with costs.of(f"record {name}: per chunk", chunks):
                for done in ready:
                    await Messages(db).settle(LIMITS, [done])
    async with db.connection() as conn:
        await conn.execute("UPDATE document_chunks SET status = 'indexed'")
        await conn.execute("UPDATE document_jobs SET searchable = true")


async def looking_up(db: Database, costs: Costs) -> None:
    """Prints what the passages of a question take, the rectangles included."""
    async with db.connection() as conn:
        statement = (
            "SELECT chunk_no FROM document_chunks c JOIN document_pages p USING (job_id, page)"
            " WHERE p.lines IS NOT NULL ORDER BY chunk_id"
        )
        numbers = [row["chunk_no"] for row in await (await conn.execute(statement)).fetchall()]
    chunks = Chunks(db)
    for name, located in (("without lines", 0), ("with lines", TOP_K)) * 3:
        async with costs.of(f"look up {LOOKED_UP} passages {name}", QUESTIONS):
            for at in range(QUESTIONS):
                asked = numbers[at * LOOKED_UP % len(numbers) :][:LOOKED_UP]
                for passage in (await chunks.passages(asked, located=located))[:TOP_K]:
                    places.of_passage(passage)


async def median(call: Callable[[int], Awaitable[object]], times: int) -> float:
    """Milliseconds of a call in the middle of so many."""
    took = []
    for at in range(times):
        begun = time.perf_counter()
        await call(at)
        took.append(1000 * (time.perf_counter() - begun))
    return statistics.median(took)


async def drawing_pages(path: Path) -> None:
    """Prints the first picture of a new process, and those after it."""
    pictures = Pictures(60)

    @asynccontextmanager
    async def file() -> AsyncIterator[Path]:
        yield path

    async def draw(at: int) -> bytes:
        marks = [drawing.mark((10, 10 * n, 300, 10 * n + 8), 612, 792) for n in range(20)]
        return await pictures.draw(Picture(formats.PDF, 1 + at % 20, 1000, marks), file())

    print(f"first picture: {await median(draw, 1):.0f} ms; those after it: p50 {await median(draw, 60):.0f} ms")
    print(f"a picture, 1,000 pixels wide: {len(await draw(3)):,} bytes")
    await pictures.close()


def storing(documents: list[model.ParsedDocument]) -> None:
    """Prints what the lines take."""
    pages = [page for document in documents for page in document.pages]
    begun = time.process_time()
    stored = [lines.pack(page) or b"" for page in pages]
    packed = time.process_time()
    smaller = sum(len(zlib.compress(one, 1)) for one in stored)
    compressed = time.process_time()
    drawn, text = sum(len(page.lines) for page in pages), sum(len(page.text.encode()) for page in pages)
    figures = {
        "lines": drawn,
        "bytes for them": sum(map(len, stored)),
        "us of CPU to pack them": 1e6 * (packed - begun),
        "bytes if zlib had them": smaller,
        "us of CPU for that": 1e6 * (compressed - packed),
        "bytes of text": text,
    }
    each = ", ".join(f"{value / len(pages):.0f} {name}" for name, value in figures.items())
    print(f"a page of {len(pages)}: {each}")


async def main(count: int) -> None:
    """Starts a server of its own and runs everything on it."""
    paths = sorted((DATA / "filings").glob("*.pdf"))[:count]
    documents = await read(paths)
    storing(documents)
    async with fresh_database() as (server, db):
        costs = Costs(server)
        await recording(db, costs, documents)
        await looking_up(db, costs)
    await drawing_pages(paths[0])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4))
