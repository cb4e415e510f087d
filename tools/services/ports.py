"""Free ports on the loopback address."""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

LOOPBACK = "127.0.0.1"
#: Below the range from which systems take the ports of outgoing connections: while a killed server is down, a client
#: that tries to reconnect could otherwise be given that very port, and talk to itself.
_RANGE = range(20_000, 32_000)
#: Processes that run at once mostly take from different shares of it.
_SHARES = 16


def free(names: Sequence[str]) -> dict[str, int]:
    """A free port for each name."""
    found = itertools.islice(filter(is_free, _candidates()), len(names))
    return dict(zip(names, found, strict=True))


@cache
def _candidates() -> Iterator[int]:
    """The ports of this process, none twice before all others: a server may take seconds until it listens, and one that
    was killed wants its own again, so that a port that is free may well be somebody's."""
    share = [port for port in _RANGE if port % _SHARES == os.getpid() % _SHARES]
    random.shuffle(share)
    return itertools.cycle(share)


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
