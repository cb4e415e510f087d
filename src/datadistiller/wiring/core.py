"""What every role needs: the database, its signals, an identity, and a heartbeat while the process lives."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from datadistiller import errors, pipeline
from datadistiller.runtime import heartbeat, process, telemetry
from datadistiller.settings import Settings
from datadistiller.store import clock, migrate
from datadistiller.store.database import Database
from datadistiller.store.signals import CHANGES, JOBS, WORK, Notifier, Signals
from datadistiller.store.workers import Heartbeat, Workers
from datadistiller.wiring.adapters import database_url

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
        listener = Signals(url, heard_by(roles))
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


def heard_by(roles: Sequence[str]) -> list[str]:
    """The signals that somebody in a process with these roles waits for."""
    heard = {"api": [JOBS, CHANGES], "index": [CHANGES], "reaper": []}
    return sorted({channel for role in roles for channel in heard.get(role, [WORK])})


async def _connected(database: Database, stop: asyncio.Event) -> None:
    """Waits until the database answers and has our schema. A process that gave up would only be started again."""
    told = False
    while True:
        try:
            await database.open()
            await clock.check(database)
            return await migrate.migrate(database)
        except errors.Unavailable as error:
            if stop.is_set():
                raise
            if not told:
                structlog.get_logger().warning("waiting_for_database", reason=error.message)
            told = True
        await asyncio.sleep(DATABASE_RETRY_SECONDS)
