"""What a process without the HTTP API says about itself: /livez, /readyz, /metrics.

An ASGI application without a framework: workers are many, and each would carry it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from datadistiller import errors
from datadistiller.runtime import heartbeat, telemetry
from datadistiller.store.database import Database

#: A database that needs longer to answer counts as away, seconds.
PATIENCE = 3.0
KEEP_ALIVE_SECONDS = 30
_SETTING = "DATADISTILLER_HEALTH_HOST and DATADISTILLER_HEALTH_PORT"

_Send = Callable[[dict[str, Any]], Awaitable[None]]


class Probes:
    """The answers of one process. What it is made of is told while it starts; until then it lives but is not ready."""

    def __init__(self, worker: str, roles: Sequence[str], stop: asyncio.Event) -> None:
        self._worker = worker
        self._roles = list(roles)
        self._stop = stop
        self._working = False
        self._database: Database | None = None
        self._heart: heartbeat.Heart | None = None
        self._metrics: telemetry.Metrics | None = None

    def connected(self, database: Database, heart: heartbeat.Heart, metrics: telemetry.Metrics) -> None:
        """The process has its database and is registered there."""
        self._database, self._heart, self._metrics = database, heart, metrics

    def working(self) -> None:
        """All roles run."""
        self._working = True

    async def __call__(self, scope: dict[str, Any], receive: object, send: _Send) -> None:
        """One request."""
        status, media_type, body = await self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, method: str, path: str) -> tuple[HTTPStatus, str, bytes]:
        if method not in ("GET", "HEAD"):
            return self._says(HTTPStatus.METHOD_NOT_ALLOWED, "not allowed", "Only GET is.")
        match path:
            case "/livez":
                trouble = self._why_dead()
                return self._says(_status(trouble), "dead" if trouble else "alive", trouble)
            case "/readyz":
                trouble = await self._why_not_ready()
                return self._says(_status(trouble), "not ready" if trouble else "ready", trouble)
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE_LATEST, await asyncio.to_thread(self._counted)
        return self._says(HTTPStatus.NOT_FOUND, "not found", "Here are /livez, /readyz and /metrics.")

    def _says(self, status: HTTPStatus, word: str, detail: str) -> tuple[HTTPStatus, str, bytes]:
        said = {"status": word, "detail": detail, "worker": self._worker, "roles": self._roles}
        return status, "application/json", json.dumps(said).encode()

    def _counted(self) -> bytes:
        about = CollectorRegistry()
        about.register(_Name(self._worker, ",".join(self._roles)))
        counted = generate_latest(self._metrics.registry()) if self._metrics else b""
        return counted + generate_latest(about)

    def _why_dead(self) -> str:
        if self._heart is not None and self._heart.expired():
            return "The heartbeat has expired."
        return ""

    async def _why_not_ready(self) -> str:
        if self._stop.is_set():
            return "The process is stopping."
        if self._database is None:
            return "It waits for the database."
        if not self._working:
            return "It is starting."
        try:
            async with asyncio.timeout(PATIENCE):
                await self._database.ping()
        except TimeoutError:
            return f"The database did not answer within {PATIENCE:.0f} seconds."
        except errors.Unavailable as error:
            return error.message
        return ""


class _Name(Collector):
    """Which process this is: WORKER_ID."""

    def __init__(self, worker: str, roles: str) -> None:
        self._labels = [worker, roles]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One value, always 1."""
        name = GaugeMetricFamily("datadistiller_process_info", "Which process this is.", labels=["worker", "roles"])
        name.add_metric(self._labels, 1)
        return [name]


@asynccontextmanager
async def answering(probes: Probes, host: str, port: int) -> AsyncIterator[None]:
    """While entered, answers on this address; on none if the port is 0. Raises SetupError if it cannot be used."""
    if not port:
        yield
        return
    from datadistiller.runtime import listening  # brings uvicorn: 2 MB that who does not ask shall not carry

    listener = listening.listen(host, port, _SETTING)
    ended = asyncio.Event()
    serving = asyncio.create_task(listening.serve(probes, listener, ended, keep_alive_seconds=KEEP_ALIVE_SECONDS))
    try:
        yield
    finally:
        ended.set()
        await serving


def _status(trouble: str) -> HTTPStatus:
    return HTTPStatus.SERVICE_UNAVAILABLE if trouble else HTTPStatus.OK
