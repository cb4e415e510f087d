"""Free ports on the loopback address."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Sequence

LOOPBACK = "127.0.0.1"
#: Below the range from which systems take the ports of outgoing connections: while a killed server is down, a client
#: that tries to reconnect could otherwise be given that very port, and talk to itself.
_RANGE = range(20_000, 32_000)


def free(names: Sequence[str]) -> dict[str, int]:
    """A free port for each name."""
    found: list[int] = []
    while len(found) < len(names):
        port = random.choice(_RANGE)
        if port not in found and is_free(port):
            found.append(port)
    return dict(zip(names, found, strict=True))


def is_free(port: int) -> bool:
    """True if a server can listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: closing connections do not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def all_free(numbers: Iterable[int]) -> bool:
    """True if a server can listen on each of them."""
    return all(is_free(port) for port in numbers)
