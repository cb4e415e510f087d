"""The API in this process, on real parts: PostgreSQL, object store, search index, embedder, index follower.

They are those of one machine, or those of a cluster. No workers run: ``process`` does their work for one document when
a test wants it done.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np

from datadistiller import messages, model, pipeline
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.indexing import Index
from datadistiller.indexing.local import LocalIndex
from datadistiller.indexing.opensearch import OpenSearchIndex
from datadistiller.indexing.opensearch_client import Access as OpenSearch
from datadistiller.indexing.opensearch_layout import Content, Shape
from datadistiller.query.answer import Ask
from datadistiller.query.search import Search
from datadistiller.queueing.kafka_client import Access as Kafka
from datadistiller.queueing.kafka_publisher import KafkaPublisher
from datadistiller.runtime.follower import Follower
from datadistiller.runtime.index_status import InsideStatus, OutsideStatus, Reporter
from datadistiller.runtime.pictures import Pictures
from datadistiller.runtime.telemetry import Metrics
from datadistiller.settings import Settings
from datadistiller.stages.accept import Accept
from datadistiller.stages.replace import Replace
from datadistiller.store.api_keys import ApiKeys
from datadistiller.store.changes import Changes
from datadistiller.store.chunks import Chunks
from datadistiller.store.database import Database
from datadistiller.store.dead_letters import DeadLetters
from datadistiller.store.followers import Followers
from datadistiller.store.inspection import Inspection
from datadistiller.store.jobs import Jobs
from datadistiller.store.messages import Limits, Messages
from datadistiller.store.models import Models
from datadistiller.store.outbox import Outbox
from datadistiller.store.pages import Pages
from datadistiller.store.reports import Reports
from datadistiller.store.signals import Notifier, Signals
from datadistiller.store.versions import Versions
from datadistiller.store.workers import Workers
from tests.contracts.objects_kit import Local, Remote, bucket_at
from tools.services.kafka import KafkaServer
from tools.services.minio import MinioServer
from tools.services.opensearch import OpenSearchServer

BOOT = uuid.UUID(int=1)


@dataclass(frozen=True, slots=True)
class Backing:
    """What the API stands on besides PostgreSQL, and the settings that name it."""

    stored: Local | Remote
    index: Index  # the API's
    follows: Index  # the follower's: the same one, or the one of an index worker
    publisher: KafkaPublisher | None
    settings: dict[str, Any]


def embedded(folder: Path, embedder: OnnxEmbedder) -> Backing:
    """One machine: files in a folder, the index inside, no broker."""
    index = LocalIndex(folder / "index", embedder.dim, embedder.fingerprint)
    return Backing(Local(folder / "objects"), index, index, None, {})


@dataclass(frozen=True, slots=True)
class Cluster:
    """The servers of a cluster, shared by all tests: each has a bucket and an index of its own."""

    kafka: KafkaServer
    minio: MinioServer
    opensearch: OpenSearchServer

    @asynccontextmanager
    async def backing(self, database: Database, embedder: OnnxEmbedder) -> AsyncIterator[Backing]:
        """A bucket and an index for one test."""
        prefix = f"test-{uuid.uuid4().hex[:12]}"
        index_url = f"{self.opensearch.environment()['DATADISTILLER_INDEX_URL']}/{prefix}"
        queue_url = self.kafka.environment()["DATADISTILLER_QUEUE_URL"]
        owner = str(await Followers(database).database_id())
        reads, writes = (
            OpenSearchIndex(
                OpenSearch.parse(index_url, "", "", None),
                Content(embedder.fingerprint, embedder.dim, name),
                Shape(replicas=0),
            )
            for name in ("", owner)
        )
        await reads.open()
        await writes.open()
        bucket, publisher = bucket_at(self.minio.url), KafkaPublisher(Kafka(queue_url))
        settings = {"objects_url": f"s3://{bucket.name}", "index_url": index_url, "queue_url": queue_url}
        try:
            yield Backing(Remote(bucket), reads, writes, publisher, settings)
        finally:
            await publisher.close()
            await writes.close()
            async with httpx.AsyncClient(base_url=self.opensearch.url, timeout=60, trust_env=False) as http:
                await http.delete(f"/{prefix}-*")


@asynccontextmanager
async def api_parts(
    database: Database, folder: Path, embedder: OnnxEmbedder, backing: Backing | None = None, **settings: Any
) -> AsyncIterator[Any]:
    """What ``wiring.ApiParts`` holds, on the database of a test; on one machine if no other backing is given."""
    backing = backing or embedded(folder, embedder)
    values = Settings(data_dir=folder, **{"min_free_disk_bytes": 0, **backing.settings, **settings})
    jobs, chunks, notifier = Jobs(database), Chunks(database), Notifier(database)
    signals, index = Signals(database.url), backing.index
    model_id = await Models(database).activate(embedder.fingerprint, embedder.dim)
    follower = Follower(Changes(database), backing.follows, signals, notifier, model_id, values.index_commit_ms)
    search = Search(index, chunks, embedder)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(backing.stored.opened())
        stack.push_async_callback(index.close)
        pictures = Pictures(values.page_seconds)
        stack.push_async_callback(pictures.close)
        parts = SimpleNamespace(
            settings=values, database=database, jobs=jobs, reports=Reports(database), chunks=chunks,
            dead_letters=DeadLetters(database, jobs),
            inspection=Inspection(database), messages=Messages(database), workers=Workers(database),
            keys=ApiKeys(database), pages=Pages(database), pictures=pictures,
            outbox=Outbox(database), publisher=backing.publisher,
            accept=Accept(store, jobs, notifier, values.max_upload_bytes), objects=store, search=search,
            replace=Replace(store, Versions(database, jobs), notifier, values.max_upload_bytes),
            ask=Ask(search), search_index=index, index=InsideStatus(index, follower), signals=signals,
            notifier=notifier, metrics=Metrics(), model_id=model_id, embedder=embedder, stored=backing.stored,
        )  # fmt: skip
        await signals.start()
        stack.push_async_callback(signals.close)
        stop = asyncio.Event()
        following = [asyncio.create_task(follower.run(stop))]
        try:
            if not values.index_inside:
                following.append(asyncio.create_task((await reported(parts, follower)).run(stop)))
            yield parts
        finally:
            stop.set()
            await asyncio.gather(*following)


async def reported(parts: Any, follower: Follower) -> Reporter:
    """Has an index worker beside the API tell how its follower stands; it has told once when this returns."""
    followers, patience = Followers(parts.database), parts.settings.worker_timeout_seconds
    parts.index = OutsideStatus(parts.search_index, followers, Changes(parts.database), parts.notifier, patience)
    reporter = Reporter(follower, followers, "test-index", patience)
    async with asyncio.timeout(60):
        while (await followers.state()).silent_seconds is None:
            await asyncio.sleep(0.02)
            await reporter.report()
    return reporter


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
    await parts.jobs.advance([(delivery, 1)], model.Status.PROCESSING, 5)
    await parts.jobs.advance([(delivery, 1)], model.Status.CHUNKING, 25)
    page = model.Page(1, text)
    document = model.ParsedDocument([page], "A title", "test", "text/plain")
    job = (await parts.jobs.to_read([delivery.job_id]))[delivery.job_id]
    chunk_id = model.make_chunk_id(job.chunks_id, 0, text)
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


def needed_roles(parts: Any) -> tuple[str, ...]:
    """The roles a system on these parts needs besides the API."""
    return pipeline.needed_roles(broker=parts.publisher is not None, index_inside=parts.settings.index_inside)


async def register_workers(parts: Any, *roles: str) -> None:
    """Enters a live worker of each role; of these instead of the needed ones, if any are given."""
    for role in roles or needed_roles(parts):
        await parts.workers.register(uuid.uuid4(), f"test-{role}", role, 1)
