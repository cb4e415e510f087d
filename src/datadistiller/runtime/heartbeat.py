"""The heartbeat of a worker process: proof to the others, and to itself, that its leases are still its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from datadistiller.runtime import process

#: How often a process looks whether its heartbeat has expired and its supervisor lives, seconds.
CHECK_SECONDS = 0.25
#: Memory is measured every so many beats: reading the page tables of a large process takes milliseconds.
BEATS_PER_MEASUREMENT = 5


class Pulse(Protocol):
    """One beat: says in the database that this process lives. Blocks; used by one thread only."""

    def beat(self, memory_bytes: int) -> bool:
        """False if that could not be recorded: the database is away, or the process was declared dead there."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


class Heart:
    """Beats in a thread of its own, with a connection of its own: work that fills the core cannot starve it.

    A process whose last successful beat is older than ``timeout`` seconds may have lost its leases to others:
    ``alive`` is False from then on, and a second thread, which no stalled connection can hold up, ends the
    process (exit code 75). That thread also calls ``on_orphaned`` once if the supervisor dies. Without
    ``vital`` an expired heartbeat is tolerated: such a process holds no leases.
    """

    def __init__(
        self,
        pulse: Pulse,
        *,
        seconds: float,
        timeout: float,
        vital: bool,
        supervisor: int | None,
        on_orphaned: Callable[[], object],
    ) -> None:
        self._pulse = pulse
        self._seconds = seconds
        self._timeout = timeout
        self._vital = vital
        self._supervisor = supervisor
        self._on_orphaned = on_orphaned
        self._last = time.monotonic()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._beat_on, name="heartbeat", daemon=True),
            threading.Thread(target=self._watch, name="heartbeat-watch", daemon=True),
        ]

    def alive(self) -> bool:
        """True while the leases of this process cannot have expired for want of a heartbeat."""
        return time.monotonic() - self._last < self._timeout

    def expired(self) -> bool:
        """True if the process must not go on: it may hold leases and is not ``alive``."""
        return self._vital and not self.alive()

    def start(self) -> None:
        """Starts beating. The worker row must have been written just before."""
        self._last = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends both threads."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=self._timeout)

    def _beat_on(self) -> None:
        beats = 0
        memory = 0
        while not self._stopped.wait(self._seconds if beats else 0):
            if beats % BEATS_PER_MEASUREMENT == 0:
                # Below a worker are its helpers; below a supervisor are workers, which count themselves.
                memory = process.memory(with_descendants=self._vital)
            beats += 1
            self._beat(memory)
        self._pulse.close()

    def _beat(self, memory: int) -> None:
        begun = time.monotonic()  # the row is at least as new as this
        if self.expired():
            # After a freeze this thread may run before the other: a late beat must not revive the process.
            self._end("heartbeat_expired")
        if self._pulse.beat(memory):
            self._last = begun
        else:
            structlog.get_logger().warning("heartbeat_failed", silent_seconds=round(begun - self._last, 1))

    def _watch(self) -> None:
        told = False
        while not self._stopped.wait(CHECK_SECONDS):
            if not told and process.orphaned(self._supervisor):
                told = True
                structlog.get_logger().warning("supervisor_died")
                self._on_orphaned()
            if self.expired():
                self._end("heartbeat_expired")

    def _end(self, reason: str) -> None:
        """Ends the process at once: whatever it would still write belongs to others now."""
        structlog.get_logger().error(reason, timeout_seconds=self._timeout)
        process.kill_descendants()
        os._exit(process.EXIT_LEASES_LOST)
