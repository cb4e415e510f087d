"""Serves an ASGI application with uvicorn in the running event loop, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from datadistiller import errors

#: How long answers in flight get to finish, seconds; streams of events end by themselves within a second.
GRACE_SECONDS = 5


async def serve(app: Any, listener: socket.socket, stop: asyncio.Event, *, keep_alive_seconds: int) -> None:
    """Serves until ``stop`` is set, then lets running requests finish."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve([listener]), name="http")
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.should_exit = True
        await running


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening address, or SetupError with what to do; ``setting`` says how another port is chosen."""
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
                hint=f"Stop it, or choose another port: {setting}.",
            ) from error
        raise errors.SetupError(
            f"Nothing can listen on {host} port {port} ({error.strerror}).",
            hint=f"Choose another address or port: {setting}.",
        ) from error


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to whoever runs this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures nothing."""
        yield
