"""What the HTTP API is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datadistiller import indexing, objects
from datadistiller.runtime import telemetry
from datadistiller.settings import Settings
from datadistiller.store.api_keys import ApiKeys
from datadistiller.store.changes import Changes
from datadistiller.store.chunks import Chunks
from datadistiller.store.database import Database
from datadistiller.store.dead_letters import DeadLetters
from datadistiller.store.inspection import Inspection
from datadistiller.store.jobs import Jobs
from datadistiller.store.messages import Messages
from datadistiller.store.models import Models
from datadistiller.store.signals import Notifier, Signals
from datadistiller.store.workers import Workers
from datadistiller.wiring.adapters import open_embedder, open_index, open_objects
from datadistiller.wiring.core import Core

if TYPE_CHECKING:
    from datadistiller.query.answer import Ask
    from datadistiller.query.search import Search
    from datadistiller.runtime.follower import Follower
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
    workers: Workers
    keys: ApiKeys
    accept: Accept
    objects: objects.ObjectStore
    search_index: indexing.SearchIndex
    search: Search
    ask: Ask
    follower: Follower
    signals: Signals
    notifier: Notifier
    metrics: telemetry.Metrics


@asynccontextmanager
async def api_parts(core: Core, stop: asyncio.Event) -> AsyncIterator[ApiParts]:
    """The parts of the API, with the index follower running until the end."""
    from datadistiller.query.answer import Ask
    from datadistiller.query.search import Search
    from datadistiller.runtime.follower import Follower
    from datadistiller.stages.accept import Accept

    settings, database = core.settings, core.database
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_objects(settings))
        embedder = await open_embedder()
        model_id = await Models(database).activate(embedder.fingerprint, embedder.dim)
        index = await stack.enter_async_context(open_index(settings, embedder))
        chunks, jobs = Chunks(database), Jobs(database)
        search = Search(index, chunks, embedder)
        follower = Follower(
            Changes(database), index, core.signals, core.notifier, model_id, commit_ms=settings.index_commit_ms
        )
        await stack.enter_async_context(_running(follower.run, stop))
        yield ApiParts(
            settings=settings,
            database=database,
            jobs=jobs,
            chunks=chunks,
            dead_letters=DeadLetters(database, jobs),
            inspection=Inspection(database),
            messages=Messages(database),
            workers=Workers(database),
            keys=ApiKeys(database),
            accept=Accept(store, jobs, core.notifier, settings.max_upload_bytes),
            objects=store,
            search_index=index,
            search=search,
            ask=Ask(search),
            follower=follower,
            signals=core.signals,
            notifier=core.notifier,
            metrics=core.metrics,
        )


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
