"""Overload is answered before a body is read: too many uploads at once, too much unfinished, too little disk."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from datadistiller import errors, objects
from datadistiller.store import jobs

#: Each upload in flight holds about 2 MB, on S3 about 11.
UPLOADS_AT_ONCE = 32
#: How long the count of unfinished documents and the free disk are believed, seconds: to find out costs as much as to
#: store a small file. What was admitted meanwhile is taken off.
BELIEVED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest file (bytes), most unfinished documents, least free disk (bytes)."""

    max_upload_bytes: int
    max_pending_jobs: int
    min_free_disk_bytes: int


class Admission:
    """Decides whether an upload may begin."""

    def __init__(self, store: objects.ObjectStore, records: jobs.Jobs, limits: Limits) -> None:
        self._store = store
        self._jobs = records
        self._limits = limits
        self._in_flight = 0
        self._counted = (float("-inf"), 0)  # when, how many
        self._measured: tuple[float, int | None] = (float("-inf"), None)  # when, bytes left

    @asynccontextmanager
    async def admit(self, announced_bytes: int) -> AsyncIterator[None]:
        """Holds a place while an upload runs. ``announced_bytes`` is the length of its body, 0 if unknown.

        Raises FileTooLarge, Overloaded, CapacityError (disk), Unavailable.
        """
        if self._in_flight >= UPLOADS_AT_ONCE:
            raise errors.Overloaded(f"{UPLOADS_AT_ONCE} uploads are running already.", retry_after=1)
        self._in_flight += 1
        try:
            self._check_size(announced_bytes)
            await self._check_backlog()
            await self._check_disk(announced_bytes)
            yield
        finally:
            self._in_flight -= 1

    def _check_size(self, announced_bytes: int) -> None:
        # The form around the file takes some bytes too: only what cannot fit is refused here.
        if announced_bytes > self._limits.max_upload_bytes + (1 << 20):
            raise errors.FileTooLarge(f"The file is larger than the limit of {self._limits.max_upload_bytes} bytes.")

    async def _check_backlog(self) -> None:
        when, unfinished = self._counted
        if time.monotonic() - when > BELIEVED_SECONDS:
            unfinished = await self._jobs.unfinished_count()
            self._counted = (time.monotonic(), unfinished)
        if unfinished >= self._limits.max_pending_jobs:
            raise errors.Overloaded(
                f"{unfinished} documents wait to be processed; the limit is {self._limits.max_pending_jobs}.",
                retry_after=10,
                hint="Try again after the time in Retry-After, or raise DATADISTILLER_MAX_PENDING_JOBS.",
            )

    async def _check_disk(self, announced_bytes: int) -> None:
        when, free = self._measured
        if time.monotonic() - when > BELIEVED_SECONDS:
            when, free = time.monotonic(), await self._store.free_bytes()
            self._measured = (when, free)
        if free is not None and free - announced_bytes < self._limits.min_free_disk_bytes:
            raise errors.CapacityError(
                f"The disk of the object store is nearly full ({free >> 20} MiB free): nothing was accepted.",
                retry_after=30,
                hint="Free some space there, or lower DATADISTILLER_MIN_FREE_DISK_BYTES.",
            )
        if free is not None:
            self._measured = (when, free - announced_bytes)
