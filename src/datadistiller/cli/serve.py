"""``datadistiller serve``: the named roles in this process, on the services in the settings."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import structlog
import typer

from datadistiller import errors, pipeline
from datadistiller.cli import configuration
from datadistiller.settings import Settings

_ROLES = ", ".join(f"{name} ({text})" for name, text in pipeline.ROLES.items())


def command(
    roles: Annotated[str, typer.Option(help=f"Comma-separated. {_ROLES}")],
) -> None:
    """Run some roles of a larger system: how a cluster runs it."""
    from datadistiller.runtime import process, telemetry

    process.few_heaps()
    chosen = parse_roles(roles)
    settings = configuration.load()
    if telemetry.MULTIPROCESS_VARIABLE in os.environ:
        telemetry.name_process(os.environ.get(process.PROCESS_VARIABLE, settings.worker_name))
    telemetry.configure_logging(settings.log_level, settings.log_format)
    if "api" not in chosen:
        process.lower_priority()
    try:
        asyncio.run(run(settings, chosen))
    except errors.SetupError as error:
        structlog.get_logger().error("cannot_start", reason=error.message, hint=error.hint)
        raise typer.Exit(process.EXIT_SETUP) from error


def parse_roles(text: str) -> list[str]:
    """The roles named, each once. ``errors.SetupError`` names the known ones."""
    chosen = list(dict.fromkeys(role.strip() for role in text.split(",") if role.strip()))
    unknown = [role for role in chosen if role not in pipeline.ROLES]
    if unknown or not chosen:
        named = f"'{unknown[0]}' is not a role." if unknown else "No role is named."
        raise errors.SetupError(named, hint=f"The roles are: {', '.join(pipeline.ROLES)}.")
    return chosen


async def run(settings: Settings, roles: list[str]) -> None:
    """Runs the roles until SIGTERM or Ctrl-C, then drains. Raises ``errors.SetupError``."""
    from datadistiller import wiring
    from datadistiller.runtime import probes, process

    stop = asyncio.Event()
    process.stop_on_signals(stop)
    answers = probes.Probes(settings.worker_name, roles, stop)
    try:
        async with (
            # Outermost: it answers while the process waits for its database, and until it has drained.
            probes.answering(answers, settings.health_host, 0 if "api" in roles else settings.health_port),
            wiring.open_core(settings, roles, stop) as core,
            wiring.member(core, stop) as heart,
            asyncio.TaskGroup() as tasks,
        ):
            answers.connected(core.database, heart, core.metrics)
            if "api" in roles:
                tasks.create_task(_serve_api(core, stop))
            if set(roles) - {"api"}:
                tasks.create_task(wiring.run_stages(core, heart, roles, stop, answers.working))
    except* errors.Unavailable:
        if not stop.is_set():  # told to stop before the database was there: nothing was begun
            raise
    except* errors.SetupError as group:
        raise _first(group) from None


async def _serve_api(core: object, stop: asyncio.Event) -> None:
    from datadistiller import wiring
    from datadistiller.api import server

    assert isinstance(core, wiring.Core)
    await wiring.check_access(core.settings, core.database)
    async with wiring.api_parts(core, stop) as parts:
        await server.serve(parts, stop)


def _first(group: BaseExceptionGroup[errors.SetupError]) -> errors.SetupError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
