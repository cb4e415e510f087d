"""Runs the API until it is told to stop."""

from __future__ import annotations

import asyncio
import socket

from datadistiller import wiring
from datadistiller.api.app import create_app
from datadistiller.runtime import listening

#: How long an idle connection is kept, seconds: longer than clients keep theirs, or one is closed as it is used.
KEEP_ALIVE_SECONDS = 75


async def serve(parts: wiring.ApiParts, stop: asyncio.Event, listener: socket.socket | None = None) -> None:
    """Serves until ``stop`` is set, then lets running requests finish. ``listener`` is a bound socket to use instead
    of the address in the settings. Raises SetupError if the address cannot be used."""
    bound = listener or listen(parts.settings.host, parts.settings.port)
    await listening.serve(create_app(parts, stop), bound, stop, keep_alive_seconds=KEEP_ALIVE_SECONDS)


def listen(host: str, port: int) -> socket.socket:
    """A listening address, or SetupError with what to do."""
    return listening.listen(host, port, "--host and --port, or DATADISTILLER_HOST and DATADISTILLER_PORT")
