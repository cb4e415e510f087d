"""A changed file becomes a new version of a document: its bytes are stored, one transaction is written, no more.

What queries found before they find until the new version is complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from datadistiller import errors, model, objects
from datadistiller.messages import INGEST_TOPIC
from datadistiller.stages import incoming
from datadistiller.store import jobs, signals, versions


@dataclass(frozen=True, slots=True)
class Change:
    """What is said about a changed file. None: as it was."""

    metadata: Mapping[str, Any] | None
    lane: model.Lane | None
    idempotency_key: str | None
    #: SHA-256 in hexadecimal of the newest version known to who sends this, any of them; None: it does not matter.
    expected: frozenset[str] | None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Replace:
    """Takes in new versions. What holds of ``stages.accept.Accept`` when it returns or raises holds here."""

    store: objects.ObjectStore
    versions: versions.Versions
    notifier: signals.Notifier
    max_bytes: int

    async def __call__(
        self, job_id: UUID, filename: str, body: AsyncIterator[bytes], change: Callable[[], Awaitable[Change]]
    ) -> jobs.Accepted:
        """Accepts one file for a document.

        Raises JobNotFound, Conflict, VersionChanged, FileEmpty, TypeNotSupported, FileTooLarge, IdempotencyMismatch,
        CapacityError, Unavailable.
        """
        key = objects.version_key(job_id, filename)
        file = await incoming.receive(self.store, key, filename, body, self.max_bytes)
        recording = False
        try:
            said = await change()
            new = versions.NewVersion(
                job_id=job_id, filename=filename, media_type=file.media_type, file_size=file.size,
                sha256=file.sha256, object_key=key, lane=said.lane, metadata=said.metadata, expected=said.expected,
                idempotency_key=said.idempotency_key, request_hash=_request_hash(job_id, file.sha256, filename, said),
                password=said.password,
            )  # fmt: skip
            recording = True
            accepted = await self.versions.accept(new)
        except BaseException as error:
            if not recording or isinstance(error, errors.RequestError):  # the database surely does not refer to it
                await self.store.delete(key)
            raise
        await incoming.keep(self.store, key, file, accepted.job)
        if not accepted.job.status.terminal:
            await self.notifier.notify(signals.WORK, INGEST_TOPIC)
            await self.notifier.notify(signals.CHANGES)
        return accepted


def _request_hash(job_id: UUID, sha256: str, filename: str, said: Change) -> str:
    """What makes two requests with one Idempotency-Key the same; never that of an upload."""
    metadata = None if said.metadata is None else dict(said.metadata)
    return hashlib.sha256(json.dumps([str(job_id), sha256, filename, metadata], sort_keys=True).encode()).hexdigest()
