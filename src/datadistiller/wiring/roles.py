"""Runs the roles that work in the background: the workers of the stages, the relay, the reaper's loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, closing
from functools import partial
from typing import Any

from datadistiller import errors, model, objects, pipeline
from datadistiller.runtime import heartbeat, reaper
from datadistiller.runtime.flights import Flights
from datadistiller.runtime.relay import Relay
from datadistiller.runtime.settlement import Settlement
from datadistiller.runtime.worker import Stage, Worker
from datadistiller.settings import Settings
from datadistiller.store.children import Family
from datadistiller.store.chunks import Chunks
from datadistiller.store.inspection import Inspection
from datadistiller.store.jobs import Jobs
from datadistiller.store.maintenance import Maintenance
from datadistiller.store.messages import Limits, Messages
from datadistiller.store.models import Models
from datadistiller.store.outbox import Outbox
from datadistiller.store.workers import Workers
from datadistiller.wiring.adapters import embedding_card, open_embedder, open_objects, open_publisher, open_source
from datadistiller.wiring.core import Core, member, open_core
from datadistiller.wiring.follower import index_loops


async def run_roles(settings: Settings, roles: Sequence[str], stop: asyncio.Event) -> None:
    """Runs roles other than ``api`` in this process until ``stop`` is set, then drains them."""
    async with open_core(settings, roles, stop) as core, member(core, stop) as heart:
        await run_stages(core, heart, roles, stop)


async def run_stages(
    core: Core,
    heart: heartbeat.Heart,
    roles: Sequence[str],
    stop: asyncio.Event,
    on_running: Callable[[], None] = lambda: None,
) -> None:
    """Runs the workers of the roles, and the loops of relay, index and reaper if asked for, until ``stop`` is set.

    ``on_running`` is called when all are about to run.
    """
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_objects(core.settings))
        runs = _reaper_loops(core, store, stop) if "reaper" in roles else []
        runs += await index_loops(core, stack, stop) if "index" in roles else []
        if "relay" in roles:
            runs.append((await _open_relay(core, stack)).run(stop))
        flights = Flights(Messages(core.database), core.identity.boot)
        for spec in (spec for role in roles for spec in pipeline.stages_of(role)):
            stage, model_id = await _open_stage(spec, core, store, stack)
            worker = await _worker(spec, stage, model_id, core, heart, flights)
            runs.append(worker.run(stop))
        watch = asyncio.create_task(flights.watch(), name="flights")
        try:
            async with asyncio.TaskGroup() as tasks:
                for run in runs:
                    tasks.create_task(run)
                on_running()
        finally:
            watch.cancel()


async def _open_stage(
    spec: pipeline.StageSpec, core: Core, store: objects.ObjectStore, stack: AsyncExitStack
) -> tuple[Stage, int | None]:
    """The stage's callable, and the model its vectors are of."""
    match spec.name:
        case "embed":
            from datadistiller.stages.embed import Embed

            embedder = await open_embedder(core.settings, core.settings.embedding_threads or 1)
            model_id = await Models(core.database).activate(embedder.fingerprint, embedder.dim)
            stage = Embed(Chunks(core.database), embedder, model_id, core.metrics.count_vectors)
            return stack.enter_context(closing(stage)), model_id
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
    from datadistiller.parsing import formats
    from datadistiller.runtime.plain import MOST_BYTES, PlainFirst
    from datadistiller.runtime.sandbox import Limits as ParserLimits
    from datadistiller.runtime.sandbox import Sandbox
    from datadistiller.stages.attachments import Intake
    from datadistiller.stages.ingest import Ingest
    from datadistiller.stages.limits import IntakeLimits

    settings = core.settings
    limits = ParserLimits(
        parse_seconds=settings.parse_seconds,
        page_seconds=settings.page_seconds,
        ocr_seconds=settings.ocr_seconds,
        memory_mb=settings.parser_memory_mb,
        documents=settings.parser_documents,
        max_pages=settings.max_pages,
        max_text_chars=settings.max_text_chars,
    )
    sandbox = Sandbox(limits, concurrency=spec.concurrency)
    stack.push_async_callback(sandbox.close)
    card = embedding_card(settings)
    await Models(core.database).activate(card.fingerprint, card.dim)  # another one's tokenizer measures other chunks
    chunker = Chunker(WordpieceTokenizer(card), settings.chunk_tokens)
    family = Family(core.database)
    most = IntakeLimits(
        settings.max_attachments, settings.max_attachment_bytes, settings.max_nesting, settings.min_free_disk_bytes
    )

    async def intake(job: model.Job) -> Intake:
        holds_nothing = job.media_type in formats.PLAIN
        return Intake(store, family, job, (0, 0) if holds_nothing else await family.spent(job), most)

    parser = PlainFirst(sandbox, min(MOST_BYTES, settings.max_text_chars))
    return Ingest(store, Jobs(core.database), parser, chunker, intake)


async def _worker(
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
        await open_source(core.settings, spec, messages, core.signals, core.identity.boot),
        stage,
        Settlement(spec, _limits(core.settings, spec), model_id, messages, core.notifier, core.metrics, heart.alive),
        flights,
        messages,
        core.metrics,
        core.identity.boot,
        core.settings.drain_seconds,
    )


async def _open_relay(core: Core, stack: AsyncExitStack) -> Relay:
    publisher = await stack.enter_async_context(open_publisher(core.settings))
    if publisher is None:
        raise errors.SetupError(
            "The role 'relay' publishes to a broker, but none is set.",
            hint="Set DATADISTILLER_QUEUE_URL to kafka://host:port, or leave the role out.",
        )
    return Relay(Outbox(core.database), publisher, core.signals, core.metrics, core.settings.kafka_window)


def _reaper_loops(core: Core, store: objects.ObjectStore, stop: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
    settings, messages = core.settings, Messages(core.database)
    limits = {spec.topic: _limits(settings, spec) for spec in pipeline.PIPELINE}
    freeing = reaper.Reaper(messages, core.notifier, limits, settings.worker_timeout_seconds)
    sweeper = reaper.Sweeper(
        store, Inspection(core.database), settings.sweep_grace_seconds, settings.abandoned_upload_hours * 3600
    )
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
