"""What the HTTP API is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datadistiller import embedding, indexing, objects, queueing
from datadistiller.runtime import telemetry
from datadistiller.settings import Settings
from datadistiller.store.api_keys import ApiKeys
from datadistiller.store.changes import Changes
from datadistiller.store.chunks import Chunks
from datadistiller.store.database import Database
from datadistiller.store.dead_letters import DeadLetters
from datadistiller.store.followers import Followers
from datadistiller.store.inspection import Inspection
from datadistiller.store.jobs import Jobs
from datadistiller.store.messages import Messages
from datadistiller.store.models import Models
from datadistiller.store.outbox import Outbox
from datadistiller.store.signals import Notifier, Signals
from datadistiller.store.workers import Workers
from datadistiller.wiring.adapters import open_embedder, open_index, open_objects, open_publisher, open_reranker
from datadistiller.wiring.core import Core
from datadistiller.wiring.follower import make_follower

if TYPE_CHECKING:
    from datadistiller.query.answer import Ask
    from datadistiller.query.rerank import Rerank
    from datadistiller.query.search import Search
    from datadistiller.runtime.index_status import IndexStatus
    from datadistiller.stages.accept import Accept


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the HTTP API is made of."""

    settings: Settings
    database: Database
    jobs: Jobs
    chunks: Chunks
    dead_letters: DeadLetters
    inspection: Inspection
    messages: Messages
    outbox: Outbox
    publisher: queueing.Publisher | None  # None without a broker
    workers: Workers
    keys: ApiKeys
    accept: Accept
    objects: objects.ObjectStore
    search_index: indexing.Index
    embedder: embedding.Embedder
    search: Search
    ask: Ask
    index: IndexStatus
    signals: Signals
    notifier: Notifier
    metrics: telemetry.Metrics


@asynccontextmanager
async def api_parts(core: Core, stop: asyncio.Event) -> AsyncIterator[ApiParts]:
    """The parts of the API; an index inside it is followed until the end."""
    from datadistiller.query.answer import Ask
    from datadistiller.query.search import Search
    from datadistiller.stages.accept import Accept

    settings, database = core.settings, core.database
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_objects(settings))
        embedder = await open_embedder(settings)
        model_id = await Models(database).activate(embedder.fingerprint, embedder.dim)
        index = await stack.enter_async_context(open_index(settings, embedder.fingerprint, embedder.dim))
        chunks, jobs = Chunks(database), Jobs(database)
        search = Search(index, chunks, embedder)
        status = await stack.enter_async_context(_index_status(core, index, model_id, stop))
        yield ApiParts(
            settings=settings,
            database=database,
            jobs=jobs,
            chunks=chunks,
            dead_letters=DeadLetters(database, jobs),
            inspection=Inspection(database),
            messages=Messages(database),
            outbox=Outbox(database),
            publisher=await stack.enter_async_context(open_publisher(settings)),
            workers=Workers(database),
            keys=ApiKeys(database),
            accept=Accept(store, jobs, core.notifier, settings.max_upload_bytes),
            objects=store,
            search_index=index,
            embedder=embedder,
            search=search,
            ask=Ask(search, await _rerank(settings)),
            index=status,
            signals=core.signals,
            notifier=core.notifier,
            metrics=core.metrics,
        )


async def _rerank(settings: Settings) -> Rerank | None:
    from datadistiller.query.rerank import Rerank

    reranker = await open_reranker(settings)
    return Rerank(reranker, settings.reranking_passages) if reranker else None


@asynccontextmanager
async def _index_status(
    core: Core, index: indexing.Index, model_id: int, stop: asyncio.Event
) -> AsyncIterator[IndexStatus]:
    """What is known of the index, and its follower if that belongs into this process."""
    from datadistiller.runtime.index_status import InsideStatus, OutsideStatus

    if not core.settings.index_inside:
        timeout = core.settings.worker_timeout_seconds
        yield OutsideStatus(index, Followers(core.database), Changes(core.database), core.notifier, timeout)
        return
    follower = make_follower(core, index, model_id)
    async with _running(follower.run, stop):
        yield InsideStatus(index, follower)


@asynccontextmanager
async def _running(
    run: Callable[[asyncio.Event], Coroutine[Any, Any, None]], stop: asyncio.Event
) -> AsyncIterator[None]:
    """Runs something beside the body, until the body ends."""
    task = asyncio.create_task(run(stop))
    try:
        yield
    finally:
        stop.set()
        await task
