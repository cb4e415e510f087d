"""The composition root: settings become parts, parts become roles. The only importer of adapters.

Adapters and what only some roles need are imported where they are wired: an embed worker then carries neither the
HTTP server nor the search index in its memory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from datadistiller import embedding, errors, indexing, objects, pipeline, queueing
from datadistiller.runtime import heartbeat, process, reaper, telemetry
from datadistiller.runtime.flights import Flights
from datadistiller.runtime.settlement import Settlement
from datadistiller.runtime.worker import Stage, Worker
from datadistiller.settings import Settings
from datadistiller.store import embedded, migrate
from datadistiller.store.changes import Changes
from datadistiller.store.chunks import Chunks
from datadistiller.store.database import Database
from datadistiller.store.dead_letters import DeadLetters
from datadistiller.store.inspection import Inspection
from datadistiller.store.jobs import Jobs
from datadistiller.store.maintenance import Maintenance
from datadistiller.store.messages import Limits, Messages
from datadistiller.store.models import Models
from datadistiller.store.signals import WORK, Notifier, Signals
from datadistiller.store.workers import Heartbeat, Workers

if TYPE_CHECKING:
    from datadistiller.query.answer import Ask
    from datadistiller.query.search import Search
    from datadistiller.runtime.follower import Follower
    from datadistiller.stages.accept import Accept

#: Connections of one process: two batches in flight, the watch, and room for the API's requests.
WORKER_CONNECTIONS = 4
API_CONNECTIONS = 12
DATABASE_RETRY_SECONDS = 0.25
#: A person waits for no answer longer than this; workers are watched by their heartbeat.
API_DATABASE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Core:
    """What every role needs."""

    settings: Settings
    identity: process.Identity
    database: Database
    signals: Signals
    notifier: Notifier
    metrics: telemetry.Metrics


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
    accept: Accept
    objects: objects.ObjectStore
    search: Search
    ask: Ask
    follower: Follower
    signals: Signals
    notifier: Notifier
    metrics: telemetry.Metrics


async def run_roles(settings: Settings, roles: Sequence[str], stop: asyncio.Event) -> None:
    """Runs roles other than ``api`` in this process until ``stop`` is set, then drains them."""
    async with open_core(settings, roles, stop) as core, member(core, stop) as heart:
        await run_stages(core, heart, roles, stop)


@asynccontextmanager
async def open_core(settings: Settings, roles: Sequence[str], stop: asyncio.Event) -> AsyncIterator[Core]:
    """Connects to the database, waiting for it as long as it takes, and brings its schema up to date.

    Raises ``errors.SetupError`` for settings that cannot work, and ``errors.Unavailable`` if ``stop`` is set before
    the database has answered.
    """
    url = database_url(settings)
    identity = process.identify(",".join(roles), settings.worker_name)
    size = API_CONNECTIONS if "api" in roles else WORKER_CONNECTIONS
    async with AsyncExitStack() as stack:
        limit = API_DATABASE_SECONDS if "api" in roles else None
        database = Database(url, max_size=size, name=identity.role, limit_seconds=limit)
        stack.push_async_callback(database.close)
        await _connected(database, stop)
        listener = Signals(url)
        await listener.start()
        stack.push_async_callback(listener.close)
        shared = os.environ.get(telemetry.MULTIPROCESS_VARIABLE)
        metrics = telemetry.Metrics(Path(shared) if shared else None)
        yield Core(settings, identity, database, listener, Notifier(database), metrics)


@asynccontextmanager
async def member(core: Core, stop: asyncio.Event) -> AsyncIterator[heartbeat.Heart]:
    """While entered, this process counts as alive; afterwards what it still holds is free at once.

    A process that works on messages ends itself when its heartbeat fails; ``stop`` is set if the supervisor dies.
    """
    settings, identity = core.settings, core.identity
    workers = Workers(core.database)
    loop = asyncio.get_running_loop()
    heart = heartbeat.Heart(
        Heartbeat(core.database.url, identity.boot),
        seconds=settings.heartbeat_seconds,
        timeout=settings.worker_timeout_seconds,
        vital=any(pipeline.stages_of(role) for role in identity.role.split(",")),
        supervisor=process.supervisor_pid(),
        on_orphaned=partial(loop.call_soon_threadsafe, stop.set),
    )
    await workers.register(identity.boot, identity.worker_id, identity.role, identity.pid)
    heart.start()
    structlog.get_logger().info("started", role=identity.role, worker=identity.worker_id, boot=str(identity.boot))
    try:
        yield heart
    finally:
        await asyncio.to_thread(heart.stop)
        try:
            await workers.remove(identity.boot)
        except errors.Unavailable as error:
            structlog.get_logger().warning("not_signed_off", reason=error.message)
        structlog.get_logger().info("stopped", role=identity.role, worker=identity.worker_id)


async def run_stages(core: Core, heart: heartbeat.Heart, roles: Sequence[str], stop: asyncio.Event) -> None:
    """Runs the workers of the roles, and the reaper's loops if it is among them, until ``stop`` is set."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_open_objects(core.settings))
        runs = _reaper_loops(core, store, stop) if "reaper" in roles else []
        flights = Flights(Messages(core.database), core.identity.boot)
        for spec in (spec for role in roles for spec in pipeline.stages_of(role)):
            stage, model_id = await _open_stage(spec, core, store, stack)
            worker = _worker(spec, stage, model_id, core, heart, flights)
            runs.append(worker.run(stop))
        watch = asyncio.create_task(flights.watch(), name="flights")
        try:
            async with asyncio.TaskGroup() as tasks:
                for run in runs:
                    tasks.create_task(run)
        finally:
            watch.cancel()


@asynccontextmanager
async def api_parts(core: Core, stop: asyncio.Event) -> AsyncIterator[ApiParts]:
    """The parts of the API, with the index follower running until the end."""
    from datadistiller.query.answer import Ask
    from datadistiller.query.search import Search
    from datadistiller.runtime.follower import Follower
    from datadistiller.stages.accept import Accept

    settings, database = core.settings, core.database
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(_open_objects(settings))
        embedder = await open_embedder()
        model_id = await Models(database).activate(embedder.fingerprint, embedder.dim)
        index = await stack.enter_async_context(_open_index(settings, embedder))
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
            accept=Accept(store, jobs, core.notifier, settings.max_upload_bytes),
            objects=store,
            search=search,
            ask=Ask(search),
            follower=follower,
            signals=core.signals,
            notifier=core.notifier,
            metrics=core.metrics,
        )


def database_url(settings: Settings) -> str:
    """The connection string the settings mean. ``errors.SetupError`` for a scheme that is not known."""
    if settings.database_url == "embedded:":
        return embedded.url_of(settings.data_dir.resolve() / "postgres")
    if settings.database_url.startswith(("postgresql://", "postgres://")):
        return settings.database_url
    raise _unknown("database", "DATADISTILLER_DATABASE_URL", settings.database_url, "'embedded:', 'postgresql://...'")


async def open_embedder() -> embedding.Embedder:
    """The embedding model, one computing thread. Loading it takes about half a second."""
    from datadistiller.embedding.onnx import OnnxEmbedder

    return await asyncio.to_thread(OnnxEmbedder, threads=1)


async def _connected(database: Database, stop: asyncio.Event) -> None:
    """Waits until the database answers and has our schema. A process that gave up would only be started again."""
    told = False
    while True:
        try:
            await database.open()
            return await migrate.migrate(database)
        except errors.Unavailable as error:
            if stop.is_set():
                raise
            if not told:
                structlog.get_logger().warning("waiting_for_database", reason=error.message)
            told = True
        await asyncio.sleep(DATABASE_RETRY_SECONDS)


@asynccontextmanager
async def _open_objects(settings: Settings) -> AsyncIterator[objects.ObjectStore]:
    store = objects.ObjectStore(settings.objects)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _open_index(settings: Settings, embedder: embedding.Embedder) -> AsyncIterator[indexing.SearchIndex]:
    if settings.index_url != "local:":
        raise _unknown("search index", "DATADISTILLER_INDEX_URL", settings.index_url, "'local:'")
    from datadistiller.indexing.local import LocalIndex

    folder = settings.data_dir.resolve() / "index"
    index = LocalIndex(folder, embedder.dim, embedder.fingerprint, settings.hnsw_threshold)
    try:
        yield index
    finally:
        await index.close()


def _open_source(core: Core, spec: pipeline.StageSpec) -> queueing.Source:
    if core.settings.queue_url != "postgresql:":
        raise _unknown("queue", "DATADISTILLER_QUEUE_URL", core.settings.queue_url, "'postgresql:'")
    from datadistiller.queueing.postgres import PostgresSource

    messages = Messages(core.database)
    return PostgresSource(
        lambda limit: messages.claim(spec.topic, limit, core.identity.boot, spec.seconds),
        partial(core.signals.subscribe, WORK, spec.topic),
    )


async def _open_stage(
    spec: pipeline.StageSpec, core: Core, store: objects.ObjectStore, stack: AsyncExitStack
) -> tuple[Stage, int | None]:
    """The stage's callable, and the model its vectors are of."""
    match spec.name:
        case "embed":
            from datadistiller.stages.embed import Embed

            embedder = await open_embedder()
            model_id = await Models(core.database).activate(embedder.fingerprint, embedder.dim)
            return stack.enter_context(closing(Embed(Chunks(core.database), embedder))), model_id
        case "ingest":
            return await _open_ingest(spec, core, store, stack), None
        case "remove":
            from datadistiller.stages.remove import Remove

            return Remove(store), None
    raise errors.BrokenInvariant(f"Nothing is wired for the stage '{spec.name}'.")


async def _open_ingest(
    spec: pipeline.StageSpec, core: Core, store: objects.ObjectStore, stack: AsyncExitStack
) -> Stage:
    from datadistiller.chunking.chunker import Chunker
    from datadistiller.embedding.wordpiece import WordpieceTokenizer
    from datadistiller.runtime.sandbox import Limits as ParserLimits
    from datadistiller.runtime.sandbox import Sandbox
    from datadistiller.stages.ingest import Ingest

    settings = core.settings
    limits = ParserLimits(
        parse_seconds=settings.parse_seconds,
        page_seconds=settings.page_seconds,
        memory_mb=settings.parser_memory_mb,
        documents=settings.parser_documents,
        max_pages=settings.max_pages,
        max_text_chars=settings.max_text_chars,
    )
    sandbox = Sandbox(limits, concurrency=spec.concurrency)
    stack.push_async_callback(sandbox.close)
    chunker = Chunker(WordpieceTokenizer(), settings.chunk_tokens)
    return Ingest(store, Jobs(core.database), sandbox, chunker)


def _worker(
    spec: pipeline.StageSpec,
    stage: Stage,
    model_id: int | None,
    core: Core,
    heart: heartbeat.Heart,
    flights: Flights,
) -> Worker:
    messages = Messages(core.database)
    return Worker(
        spec,
        _open_source(core, spec),
        stage,
        Settlement(spec, _limits(core.settings, spec), model_id, messages, core.notifier, core.metrics, heart.alive),
        flights,
        messages,
        core.metrics,
        core.identity.boot,
        core.settings.drain_seconds,
    )


def _reaper_loops(core: Core, store: objects.ObjectStore, stop: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
    settings, messages = core.settings, Messages(core.database)
    limits = {spec.topic: _limits(settings, spec) for spec in pipeline.PIPELINE}
    freeing = reaper.Reaper(messages, core.notifier, limits, settings.worker_timeout_seconds)
    sweeper = reaper.Sweeper(store, Inspection(core.database), settings.sweep_grace_seconds)
    maintenance = Maintenance(core.database)
    tidy = partial(maintenance.run, settings.idempotency_hours * 3600)
    return [
        reaper.repeat("reap", reaper.REAP_SECONDS, freeing.reap, stop),
        reaper.repeat("sweep", sweeper.period, sweeper.sweep, stop),
        reaper.repeat("maintenance", reaper.MAINTENANCE_SECONDS, tidy, stop),
        reaper.repeat("forget workers", reaper.MAINTENANCE_SECONDS, Workers(core.database).forget, stop),
    ]


def _limits(settings: Settings, spec: pipeline.StageSpec) -> Limits:
    return Limits(spec.tries, spec.solo_crashes, settings.park_hours * 3600)


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


def _unknown(what: str, variable: str, value: str, known: str) -> errors.SetupError:
    scheme = value.split(":")[0][:40]  # the rest may hold a password
    return errors.SetupError(f"'{scheme}' is not a known kind of {what}.", hint=f"Set {variable} to {known}.")
