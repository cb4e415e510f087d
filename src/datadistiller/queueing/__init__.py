"""The queueing port: how a worker learns which messages it may begin, and how a broker learns of them.

PostgreSQL owns every message; a queue only decides how its id reaches a worker. The embedded adapter
claims rows; a broker adapter receives ids, which the relay published, and begins them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is to be on a broker."""

    name: str
    partitions: int
    retention_hours: float


@dataclass(frozen=True, slots=True)
class Record:
    """What is published. Records with one key stay in order; without a key any partition may get it."""

    topic: str
    key: str | None
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Publisher(Protocol):
    """The way to a broker.

    Corner cases: every call raises ``errors.Unavailable`` if the broker does not answer within seconds, and
    ``errors.SetupError`` if it refuses us (password, certificate, rights). Nothing connects before the first call;
    after ``close`` a call raises ``errors.Unavailable``.
    """

    async def prepare(self, topics: Sequence[Topic]) -> Sequence[str]:
        """Creates the topics that are missing, and returns their names. Those that are there are left as they are."""
        ...

    async def publish(self, records: Sequence[Record]) -> None:
        """Returns once the broker has acknowledged all of them. After an error any of them may have been published."""
        ...

    async def written(self, topic: str) -> int:
        """Records ever written to a topic; 0 if there is none. If that is less than before, the broker lost some."""
        ...

    async def differences(self, topics: Sequence[Topic]) -> Sequence[str]:
        """A sentence for each topic that is missing or not as it is to be."""
        ...

    async def check(self) -> None:
        """Raises unless the broker answers."""
        ...

    async def close(self) -> None:
        """Lets go of the broker."""
        ...
