"""``datadistiller up``: the whole system on this machine, supervised from one process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from datadistiller import errors
from datadistiller.cli import configuration, ground
from datadistiller.settings import Settings, for_children

if TYPE_CHECKING:
    from datadistiller.runtime.supervisor import Death, ProcessSpec
    from datadistiller.store.database import Database
    from datadistiller.store.embedded import EmbeddedPostgres

NO_SAMPLES_VARIABLE = "DATADISTILLER_NO_SAMPLES"
_LEFTOVER_SECONDS = 5.0


def command(
    data_dir: Annotated[Path | None, typer.Option(help="Folder for database, documents, index and logs.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; beyond loopback with API keys.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one.")] = None,
) -> None:
    """Run everything on this machine: database, workers, API. Ctrl-C stops it cleanly."""
    settings = configuration.load(data_dir=data_dir, host=host, port=port)
    if ground.holder(settings.data_dir) is None:  # else the one that runs there may well be what uses the port
        ground.free_port(settings.host, settings.port)
    with ground.locked(settings.data_dir, settings.min_free_disk_bytes):
        settings = settings.model_copy(update={"port": ground.free_port(settings.host, settings.port)})
        asyncio.run(run(settings))


async def run(settings: Settings) -> None:
    """Starts, serves and stops everything. Raises ``errors.SetupError`` if a part cannot start as configured."""
    # Imported late: 'datadistiller --help' shall not wait for them.
    from datadistiller.cli import firstrun
    from datadistiller.runtime import process, registry, telemetry
    from datadistiller.store import embedded

    stop = asyncio.Event()
    process.stop_on_signals(stop)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop.set)  # its terminal was closed
    with supervisor_log(settings.data_dir) as log:
        telemetry.configure_logging(settings.log_level, settings.log_format, log)
        await registry.Registry(settings.data_dir / "run").stop_leftovers(_LEFTOVER_SECONDS)
        firstrun.say(f"Starting the database in {settings.data_dir.resolve()}")
        server = embedded.EmbeddedPostgres(settings.data_dir / "postgres")
        try:
            await server.start()
            await _with_database(settings, server, stop)
        finally:
            await server.stop()
    firstrun.say("Stopped. Everything is saved.")


def supervisor_log(folder: Path) -> TextIO:
    """Where this process logs: the terminal is for the person."""
    (folder / "logs").mkdir(exist_ok=True)
    return (folder / "logs" / "supervisor.log").open("a", buffering=1)


async def _with_database(settings: Settings, server: EmbeddedPostgres, stop: asyncio.Event) -> None:
    from datadistiller import wiring
    from datadistiller.store import migrate
    from datadistiller.store.database import Database

    database = Database(server.url, name="supervisor")
    try:
        await database.open()
        await migrate.migrate(database)
        await wiring.check_access(settings, database)
        await _supervise(settings, server, database, stop)
    finally:
        await database.close()


async def _supervise(settings: Settings, server: EmbeddedPostgres, database: Database, stop: asyncio.Event) -> None:
    """Runs the children, the reaper and the greeting until ``stop`` is set; a child that cannot start sets it."""
    from datadistiller import wiring
    from datadistiller.cli import firstrun
    from datadistiller.runtime import process
    from datadistiller.runtime.supervisor import Supervisor
    from datadistiller.store.workers import Workers

    workers = Workers(database)
    await workers.remove_all()
    hopeless: list[errors.SetupError] = []

    async def on_death(death: Death) -> None:
        if death.code == process.EXIT_SETUP:
            hopeless.append(why_not_started(settings.data_dir / "logs" / f"{death.name}.log"))
            stop.set()
        with contextlib.suppress(errors.Unavailable):
            await workers.remove(death.boot)

    supervisor = Supervisor(settings.data_dir, settings.drain_seconds, on_death)
    specs = children(settings, fresh_folder(settings.data_dir / "metrics"))
    firstrun.say(f"Starting {', '.join(spec.name for spec in specs)}")
    await run_together(
        stop,
        supervisor.run(specs, stop, {"postgres": server}),
        wiring.run_roles(settings, ["reaper", "relay"] if wiring.uses_broker(settings) else ["reaper"], stop),
        firstrun.greet(settings, stop, samples=not os.environ.get(NO_SAMPLES_VARIABLE)),
        _say_when_stopping(stop),
    )
    if hopeless:
        raise hopeless[0]


async def _say_when_stopping(stop: asyncio.Event) -> None:
    from datadistiller.cli import firstrun

    await stop.wait()
    firstrun.say("Stopping: finishing what is under way")


async def run_together(stop: asyncio.Event, *parts: Coroutine[Any, Any, None]) -> None:
    """Runs the parts until ``stop`` is set and they ended; one that fails stops the others, its error is raised."""

    async def watched(part: Coroutine[Any, Any, None]) -> None:
        try:
            await part
        except BaseException:
            stop.set()
            raise

    ends = await asyncio.gather(*(watched(part) for part in parts), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end


def fresh_folder(folder: Path) -> Path:
    """The folder, empty: what the processes counted belongs to one run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def why_not_started(log: Path) -> errors.SetupError:
    """What a child logged before it gave up because of its settings."""
    for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            return errors.SetupError(entry["reason"], hint=entry["hint"])
    return errors.SetupError(f"The process '{log.stem}' cannot start as configured.", hint=f"Its log is {log}.")


def children(settings: Settings, metrics_dir: Path) -> list[ProcessSpec]:
    """The processes of an embedded system: one API, the ingest and embed workers, one for an index outside the API."""
    from datadistiller.runtime import telemetry
    from datadistiller.runtime.supervisor import ProcessSpec

    env = {
        **for_children(settings),
        "DATADISTILLER_DATA_DIR": str(settings.data_dir.resolve()),
        "DATADISTILLER_EMBEDDING_THREADS": str(settings.embedding_share),
        "DATADISTILLER_HEALTH_PORT": "0",  # one port cannot be for all of them, and the API tells how they are
        telemetry.MULTIPROCESS_VARIABLE: str(metrics_dir.resolve()),
    }
    roles = ["api"] + ["ingest"] * settings.ingest_workers + ["embed"] * settings.embed_workers
    roles += [] if settings.index_inside else ["index"]
    counted: dict[str, int] = {}
    specs = []
    for role in roles:
        counted[role] = counted.get(role, 0) + 1
        name = role if role == "api" else f"{role}-{counted[role]}"
        named = env if role == "api" else {**env, "WORKER_ID": name}
        argv = [sys.executable, "-m", "datadistiller", "serve", "--roles", role]
        specs.append(ProcessSpec(name, argv, named))
    return specs
