"""Runs the API with uvicorn in the running event loop, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

import uvicorn

from datadistiller import errors, wiring
from datadistiller.api.app import create_app

#: How long an idle connection is kept, seconds: longer than clients keep theirs, or one is closed as it is used.
KEEP_ALIVE_SECONDS = 75
#: How long answers in flight get to finish, seconds; streams of events end by themselves within a second.
GRACE_SECONDS = 5


async def serve(parts: wiring.ApiParts, stop: asyncio.Event, listener: socket.socket | None = None) -> None:
    """Serves until ``stop`` is set, then lets running requests finish. ``listener`` is a bound socket to use instead
    of the address in the settings. Raises SetupError if the address cannot be used."""
    bound = listener or listen(parts.settings.host, parts.settings.port)
    config = uvicorn.Config(
        create_app(parts, stop),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve([bound]), name="http")
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
        await running


def listen(host: str, port: int) -> socket.socket:
    """A listening address, or SetupError with what to do."""
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Accepted sockets inherit it. asyncio sets it itself only where the protocol is named, which
        # create_server does not do: then the body of an answer waits 40 ms for the ACK of its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise errors.SetupError(
                f"Port {port} of {host} is used by another program.",
                hint="Stop it, or choose another port: --port or DATADISTILLER_PORT.",
            ) from error
        raise errors.SetupError(
            f"The API cannot listen on {host} port {port} ({error.strerror}).", hint="Choose another --host or --port."
        ) from error


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to whoever runs this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures nothing."""
        yield
