"""Keeps child processes and services running: start, restart with back-off, drain, stop. Whatever they do."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from datadistiller import errors
from datadistiller.runtime import process, registry
from datadistiller.runtime.logfile import LogFiles

FIRST_PAUSE = 0.2  # seconds before the first restart, doubled for each further one
LONGEST_PAUSE = 30.0
HEALTHY_SECONDS = 60.0  # a process that ran this long starts again with the first pause
SERVICE_CHECK_SECONDS = 0.25
LOG_CHECK_SECONDS = 10.0
#: What a child gets after its own drain time to sign off, seconds.
EXIT_MARGIN = 5.0


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A child process. ``name`` is unique and names its log file."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]  # all of it


@dataclass(frozen=True, slots=True)
class Death:
    """A child that ended. ``code`` is negative if a signal ended it."""

    name: str
    pid: int
    boot: uuid.UUID
    code: int
    seconds: float  # it had lived


class Service(Protocol):
    """Something supervised that starts its processes itself, such as a database server."""

    async def start(self) -> None:
        """Starts it and waits until it can be used."""
        ...

    def alive(self) -> bool:
        """True while it runs."""
        ...


class Supervisor:
    """Runs children until it is told to stop. Each child has a process group of its own.

    Ctrl-C in a terminal therefore reaches the supervisor only, which drains the children: SIGTERM, and SIGKILL
    to the whole group when their time is over. They stay in the terminal's session: the scheduler weighs nice
    values within a session only.
    """

    def __init__(self, folder: Path, drain_seconds: float, on_death: Callable[[Death], Awaitable[None]]) -> None:
        self.logs = LogFiles(folder / "logs")
        self.registry = registry.Registry(folder / "run")
        self.deaths: dict[str, int] = {}  # by name, since the start
        self._drain_seconds = drain_seconds
        self._on_death = on_death

    async def run(
        self, specs: Sequence[ProcessSpec], stop: asyncio.Event, services: Mapping[str, Service] | None = None
    ) -> None:
        """Keeps all children and services alive until ``stop`` is set; returns when all children are gone.

        The services must have been started; whoever started them stops them afterwards.
        """
        async with asyncio.TaskGroup() as tasks:
            for name, service in (services or {}).items():
                tasks.create_task(self._keep_service(name, service, stop), name=f"keep-{name}")
            for spec in specs:
                tasks.create_task(self._keep(spec, stop), name=f"keep-{spec.name}")
            tasks.create_task(self._turn_logs_over(stop), name="logs")

    async def _keep(self, spec: ProcessSpec, stop: asyncio.Event) -> None:
        pause = FIRST_PAUSE
        while not stop.is_set():
            death = await self._live(spec, stop)
            if stop.is_set():
                return
            pause = FIRST_PAUSE if death.seconds >= HEALTHY_SECONDS else pause
            self.deaths[spec.name] = self.deaths.get(spec.name, 0) + 1
            structlog.get_logger().error(
                "process_died", process=spec.name, pid=death.pid, exit_code=death.code, restart_in_seconds=pause
            )
            await _sleep(pause, stop)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _live(self, spec: ProcessSpec, stop: asyncio.Event) -> Death:
        """One life of a child, from its start until it and everything in its group is gone."""
        boot = uuid.uuid4()
        begun = time.monotonic()
        try:
            child = await self._spawn(spec, boot)
        except OSError as error:
            structlog.get_logger().error("process_not_started", process=spec.name, reason=error.strerror)
            return Death(spec.name, 0, boot, -1, 0.0)
        self.registry.record(spec.name, child.pid, list(spec.argv))
        code = await self._wait(child, stop)
        # What the child itself started (parsers) does not outlive it.
        registry.send_group(child.pid, signal.SIGKILL)
        self.registry.forget(spec.name)
        death = Death(spec.name, child.pid, boot, code, time.monotonic() - begun)
        await self._on_death(death)
        return death

    async def _spawn(self, spec: ProcessSpec, boot: uuid.UUID) -> asyncio.subprocess.Process:
        log = self.logs.open(spec.name)
        try:
            return await asyncio.create_subprocess_exec(
                *spec.argv,
                env={
                    **spec.env,
                    process.BOOT_VARIABLE: str(boot),
                    process.SUPERVISOR_VARIABLE: str(os.getpid()),
                    process.PROCESS_VARIABLE: spec.name,
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        finally:
            os.close(log)

    async def _wait(self, child: asyncio.subprocess.Process, stop: asyncio.Event) -> int:
        """Waits for the child's end; when told to stop, brings it about."""
        ended = asyncio.create_task(child.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ended.done():
            registry.send(child.pid, signal.SIGTERM)
            await asyncio.wait({ended}, timeout=self._drain_seconds + EXIT_MARGIN)
        if not ended.done():
            structlog.get_logger().warning("process_killed", pid=child.pid, after_seconds=self._drain_seconds)
            registry.send_group(child.pid, signal.SIGKILL)
        return await ended

    async def _keep_service(self, name: str, service: Service, stop: asyncio.Event) -> None:
        pause, begun = FIRST_PAUSE, time.monotonic()
        while not stop.is_set():
            if service.alive():
                await _sleep(SERVICE_CHECK_SECONDS, stop)
                continue
            pause = FIRST_PAUSE if time.monotonic() - begun >= HEALTHY_SECONDS else pause
            self.deaths[name] = self.deaths.get(name, 0) + 1
            structlog.get_logger().error("service_died", service=name)
            begun = time.monotonic()
            await self._restart(name, service)
            await _sleep(pause, stop)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _restart(self, name: str, service: Service) -> None:
        try:
            await service.start()
        except errors.DataDistillerError as error:
            structlog.get_logger().error("service_not_started", service=name, reason=error.message)
        else:
            structlog.get_logger().info("service_restarted", service=name)

    async def _turn_logs_over(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await asyncio.to_thread(self.logs.turn_over)
            except OSError as error:
                structlog.get_logger().warning("log_not_turned_over", reason=error.strerror)
            await _sleep(LOG_CHECK_SECONDS, stop)


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    """Sleeps, but not past ``stop``."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
