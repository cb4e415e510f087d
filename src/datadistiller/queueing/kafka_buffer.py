"""Records that were received and not yet looked at, and how far each partition may be acknowledged. Knows no Kafka."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from datadistiller import errors, messages


@dataclass(frozen=True, slots=True)
class Received:
    """A record: a message's id, or what is wrong with it and its first bytes."""

    partition: int
    offset: int
    message_id: int | None
    wrong: str = ""
    value: bytes = b""


def received(partition: int, offset: int, value: bytes | None, kept_bytes: int) -> Received:
    """Reads a record; of one that is none of ours the first ``kept_bytes`` are kept."""
    try:
        return Received(partition, offset, messages.decode(value).message_id)
    except errors.Undecodable as error:
        return Received(partition, offset, None, error.message, (value or b"")[:kept_bytes])


class Buffer:
    """In the order of arrival. One thread adds records and owns partitions, another looks at the records.

    A partition may be acknowledged up to its first record that was not looked at.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[int, int], Received] = {}
        self._offsets: dict[int, dict[int, None]] = {}  # by partition that is ours: those that wait, in order
        self._ends: dict[int, int] = {}  # by partition: what follows the last record
        self._moved: set[int] = set()  # partitions looked at since they were last acknowledged

    def __len__(self) -> int:
        return len(self._waiting)

    def own(self, partitions: Iterable[int]) -> None:
        """These partitions are ours from now on."""
        with self._lock:
            for partition in partitions:
                self._offsets.setdefault(partition, {})

    def owns(self) -> bool:
        """True if any partition is ours."""
        with self._lock:
            return bool(self._offsets)

    def add(self, records: Iterable[Received]) -> None:
        """Records in the order of their offsets; those of partitions that are not ours any more are passed over."""
        with self._lock:
            for record in records:
                if record.partition in self._offsets:
                    self._waiting[record.partition, record.offset] = record
                    self._offsets[record.partition][record.offset] = None
                    self._ends[record.partition] = record.offset + 1

    def first(self, limit: int) -> Sequence[Received]:
        """The longest waiting ones. They stay until they are settled."""
        with self._lock:
            return list(islice(self._waiting.values(), limit))

    def settle(self, records: Iterable[Received]) -> None:
        """These were looked at. Those whose partition was dropped meanwhile are passed over."""
        with self._lock:
            for record in records:
                if self._waiting.pop((record.partition, record.offset), None) is not None:
                    del self._offsets[record.partition][record.offset]
                    self._moved.add(record.partition)

    def drop(self, partitions: Iterable[int] | None = None) -> None:
        """These partitions (None: all) are not ours any more; whoever gets them receives the same records again."""
        with self._lock:
            for partition in list(self._offsets) if partitions is None else partitions:
                for offset in self._offsets.pop(partition, {}):
                    del self._waiting[partition, offset]
                self._ends.pop(partition, None)
                self._moved.discard(partition)

    def not_acknowledged(self, partitions: Iterable[int]) -> None:
        """What ``acknowledged`` gave of these did not get through: it is given again, unless they were dropped."""
        with self._lock:
            self._moved.update(partition for partition in partitions if partition in self._ends)

    def acknowledged(self) -> dict[int, int]:
        """By partition, where to go on reading; of those that moved since the last call."""
        with self._lock:
            moved, self._moved = self._moved, set()
            return {partition: next(iter(self._offsets[partition]), self._ends[partition]) for partition in moved}
