"""The queueing port: how a worker learns which messages it may begin.

PostgreSQL owns every message; a queue only decides how its id reaches a worker. The embedded adapter
claims rows; a broker adapter receives ids and begins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from datadistiller.messages import Delivery


class Source(Protocol):
    """Where the worker of one topic takes messages from.

    Corner cases: a message with crashes is delivered alone; no message due gives an empty sequence once
    ``wait_seconds`` have passed, sooner if there is reason to look again; after ``close`` it raises
    nothing and returns an empty sequence. A delivered message is begun: its lease is committed.
    """

    async def take(self, limit: int, wait_seconds: float) -> Sequence[Delivery]:
        """Begins up to ``limit`` messages (>= 1) and returns them."""
        ...

    async def close(self) -> None:
        """Stops taking; deliveries already given out stay valid."""
        ...
