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
from datadistiller.store.pages import Pages
from datadistiller.store.reports import Reports
from datadistiller.store.signals import Notifier, Signals
from datadistiller.store.versions import Versions
from datadistiller.store.workers import Workers
from datadistiller.wiring.adapters import open_embedder, open_index, open_objects, open_publisher, open_reranker
from datadistiller.wiring.core import Core
from datadistiller.wiring.follower import make_follower

if TYPE_CHECKING:
    from datadistiller.query.answer import Ask
    from datadistiller.query.search import Search
    from datadistiller.runtime.index_status import IndexStatus
    from datadistiller.runtime.pictures import Pictures
    from datadistiller.stages.accept import Accept
    from datadistiller.stages.replace import Replace


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the HTTP API is made of."""

    settings: Settings
    database: Database
    jobs: Jobs
    reports: Reports
    chunks: Chunks
    pages: Pages
    pictures: Pictures
    dead_letters: DeadLetters
    inspection: Inspection
    messages: Messages
    outbox: Outbox
    publisher: queueing.Publisher | None  # None without a broker
    workers: Workers
    keys: ApiKeys
    accept: Accept
    replace: Replace
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
    settings, database = core.settings, core.database
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_objects(settings))
        embedder = await open_embedder(settings)
        model_id = await Models(database).activate(embedder.fingerprint, embedder.dim)
        index = await stack.enter_async_context(open_index(settings, embedder.fingerprint, embedder.dim))
        chunks, jobs = Chunks(database), Jobs(database)
        status = await stack.enter_async_context(_index_status(core, index, model_id, stop))
        accept, replace = _incoming(core, store, jobs)
        search, ask = await _asking(settings, index, chunks, embedder)
        yield ApiParts(
            settings=settings,
            database=database,
            jobs=jobs,
            reports=Reports(database),
            chunks=chunks,
            pages=Pages(database),
            pictures=await stack.enter_async_context(_pictures(settings)),
            dead_letters=DeadLetters(database, jobs),
            inspection=Inspection(database),
            messages=Messages(database),
            outbox=Outbox(database),
            publisher=await stack.enter_async_context(open_publisher(settings)),
            workers=Workers(database),
            keys=ApiKeys(database),
            accept=accept,
            replace=replace,
            objects=store,
            search_index=index,
            embedder=embedder,
            search=search,
            ask=ask,
            index=status,
            signals=core.signals,
            notifier=core.notifier,
            metrics=core.metrics,
        )


def _incoming(core: Core, store: objects.ObjectStore, jobs: Jobs) -> tuple[Accept, Replace]:
    """What takes files in."""
    from datadistiller.stages.accept import Accept
    from datadistiller.stages.replace import Replace

    largest = core.settings.max_upload_bytes
    return (
        Accept(store, jobs, core.notifier, largest),
        Replace(store, Versions(core.database, jobs), core.notifier, largest),
    )


async def _asking(
    settings: Settings, index: indexing.Index, chunks: Chunks, embedder: embedding.Embedder
) -> tuple[Search, Ask]:
    """What answers questions."""
    from datadistiller.query.answer import Ask
    from datadistiller.query.rerank import Rerank
    from datadistiller.query.search import Search

    search = Search(index, chunks, embedder)
    reranker = await open_reranker(settings)
    return search, Ask(search, Rerank(reranker, settings.reranking_passages) if reranker else None)


@asynccontextmanager
async def _pictures(settings: Settings) -> AsyncIterator[Pictures]:
    """What draws pages; nothing is started before it is used."""
    from datadistiller.runtime.pictures import MEMORY_MB, Pictures

    pictures = Pictures(settings.page_seconds, min(MEMORY_MB, settings.parser_memory_mb))
    try:
        yield pictures
    finally:
        await pictures.close()


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
