"""The API in this process, on real parts: PostgreSQL, object folder, search index, embedder, index follower.

No workers run: ``process`` does their work for one document when a test wants it done.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from datadistiller import messages, model
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.indexing.local import LocalIndex
from datadistiller.objects.local import LocalObjects
from datadistiller.query.answer import Ask
from datadistiller.query.search import Search
from datadistiller.runtime.follower import Follower
from datadistiller.runtime.index_status import InsideStatus
from datadistiller.runtime.telemetry import Metrics
from datadistiller.settings import Settings
from datadistiller.stages.accept import Accept
from datadistiller.store.api_keys import ApiKeys
from datadistiller.store.changes import Changes
from datadistiller.store.chunks import Chunks
from datadistiller.store.database import Database
from datadistiller.store.dead_letters import DeadLetters
from datadistiller.store.inspection import Inspection
from datadistiller.store.jobs import Jobs
from datadistiller.store.messages import Limits, Messages
from datadistiller.store.models import Models
from datadistiller.store.outbox import Outbox
from datadistiller.store.signals import Notifier, Signals
from datadistiller.store.workers import Workers

BOOT = uuid.UUID(int=1)


@asynccontextmanager
async def api_parts(database: Database, folder: Path, embedder: OnnxEmbedder, **settings: Any) -> AsyncIterator[Any]:
    """What ``wiring.ApiParts`` holds, on the database of a test."""
    values = Settings(data_dir=folder, **{"min_free_disk_bytes": 0, **settings})
    index = LocalIndex(folder / "index", embedder.dim, embedder.fingerprint)
    jobs, chunks, notifier = Jobs(database), Chunks(database), Notifier(database)
    signals = Signals(database.url)
    store = LocalObjects(folder / "objects")
    model_id = await Models(database).activate(embedder.fingerprint, embedder.dim)
    follower = Follower(Changes(database), index, signals, notifier, model_id, values.index_commit_ms)
    search = Search(index, chunks, embedder)
    parts = SimpleNamespace(
        settings=values, database=database, jobs=jobs, chunks=chunks, dead_letters=DeadLetters(database, jobs),
        inspection=Inspection(database), messages=Messages(database), workers=Workers(database),
        keys=ApiKeys(database),
        outbox=Outbox(database), publisher=None,
        accept=Accept(store, jobs, notifier, values.max_upload_bytes), objects=store, search=search, ask=Ask(search),
        search_index=index,
        index=InsideStatus(index, follower), signals=signals, notifier=notifier, metrics=Metrics(), model_id=model_id,
        embedder=embedder,
    )  # fmt: skip
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        stack.push_async_callback(index.close)
        await signals.start()
        stack.push_async_callback(signals.close)
        stop = asyncio.Event()
        following = asyncio.create_task(follower.run(stop))
        try:
            yield parts
        finally:
            stop.set()
            await following


async def claim(parts: Any, topic: str) -> list[messages.Delivery]:
    """All messages due on a topic, begun."""
    return list(await parts.messages.claim(topic, 100, BOOT, 60))


async def settle(parts: Any, *outcomes: messages.Outcome) -> None:
    """What a worker does with its results."""
    await parts.messages.settle(Limits(5, 5), outcomes, parts.model_id)
    await parts.notifier.notify("dd_changes")
    for outcome in outcomes:
        await parts.notifier.notify("dd_jobs", str(outcome.delivery.job_id))


async def ingest(parts: Any, text: str) -> None:
    """Ingests the one document that waits: one page, one chunk of all its text."""
    (delivery,) = await claim(parts, messages.INGEST_TOPIC)
    await parts.jobs.advance(delivery, model.Status.PROCESSING, 5, page_count=1)
    await parts.jobs.advance(delivery, model.Status.CHUNKING, 25)
    page = model.Page(1, text)
    document = model.ParsedDocument([page], "A title", "test", "text/plain")
    chunk_id = model.make_chunk_id(delivery.job_id, 0, text)
    chunk = model.Chunk(chunk_id, 0, 1, 0, len(text), text, "A title", 10)
    await settle(parts, messages.Done(delivery, messages.Ingested(document, [chunk])))


async def embed(parts: Any, text: str) -> None:
    """Embeds the chunks that wait."""
    vector = parts.embedder.embed([text])[0].astype(np.float16)
    waiting = await claim(parts, messages.CHUNK_TOPIC)
    await settle(parts, *(messages.Done(delivery, messages.Embedded(vector)) for delivery in waiting))


async def process(parts: Any, text: str) -> None:
    """Brings the one document that waits to its end."""
    await ingest(parts, text)
    await embed(parts, text)


async def finished(client: Any, job_id: str) -> dict[str, Any]:
    """The status of a document once it is terminal."""
    async with asyncio.timeout(30):
        while True:
            status = (await client.get(f"/api/v2/documents/status/{job_id}")).json()
            if model.Status(status["status"]).terminal:
                return dict(status)
            await asyncio.sleep(0.02)


async def ready(client: Any) -> None:
    """Returns when the index follows."""
    async with asyncio.timeout(30):
        while True:
            if (await client.get("/readyz")).status_code == 200:
                return
            await asyncio.sleep(0.02)


async def register_workers(parts: Any, *roles: str) -> None:
    """Enters a live worker of each role; of these instead of the usual ones, if any are given."""
    for role in roles or ("ingest", "embed"):
        await parts.workers.register(uuid.uuid4(), f"test-{role}", role, 1)
