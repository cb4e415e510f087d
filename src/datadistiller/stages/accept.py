"""The first stage: the bytes of an upload become a stored object and a pending job, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from datadistiller import errors, model, objects
from datadistiller.messages import INGEST_TOPIC
from datadistiller.stages import incoming
from datadistiller.store import jobs, signals


@dataclass(frozen=True, slots=True)
class Details:
    """What the uploader says about a file; known only after its bytes, as form fields may follow the file."""

    collection: str
    metadata: Mapping[str, Any]
    lane: model.Lane
    idempotency_key: str | None
    password: str | None = field(default=None, repr=False)


class Accept:
    """Streams a file into the object store, then records its job in one transaction.

    When it returns, the object is synced to disk and the job is committed. When it raises, nothing was accepted
    and nothing is left, except where a commit's answer was lost: it may have happened, so the sweeper decides.
    """

    def __init__(
        self, store: objects.ObjectStore, records: jobs.Jobs, notifier: signals.Notifier, max_upload_bytes: int
    ) -> None:
        self._store = store
        self._jobs = records
        self._notifier = notifier
        self._max_bytes = max_upload_bytes

    async def __call__(
        self, filename: str, body: AsyncIterator[bytes], details: Callable[[], Awaitable[Details]]
    ) -> jobs.Accepted:
        """Accepts one file. ``body`` yields no empty chunk; ``details`` is awaited when it has ended.

        Raises FileEmpty, TypeNotSupported, FileTooLarge, IdempotencyMismatch, CapacityError, Unavailable.
        """
        job_id = uuid4()
        key = objects.object_key(job_id, filename)
        file = await incoming.receive(self._store, key, filename, body, self._max_bytes)
        recording = False
        try:
            said = await details()
            wanted = _request_hash(file.sha256, filename, said)
            recording = True
            accepted = await self._jobs.accept(
                jobs.NewJob(job_id=job_id, filename=filename, collection=said.collection, media_type=file.media_type,
                            file_size=file.size, sha256=file.sha256, object_key=key, lane=said.lane,
                            metadata=said.metadata, idempotency_key=said.idempotency_key, request_hash=wanted,
                            password=said.password)
            )  # fmt: skip
        except BaseException as error:
            if not recording or isinstance(error, errors.RequestError):  # the database surely does not refer to it
                await self._store.delete(key)
            raise
        await incoming.keep(self._store, key, file, accepted.job)
        if not accepted.job.status.terminal:
            self._notifier.soon(signals.WORK, INGEST_TOPIC)
        return accepted


def _request_hash(sha256: str, filename: str, said: Details) -> str:
    """What makes two requests with one Idempotency-Key the same. Not the password: nothing made of it is kept."""
    parts = [sha256, filename, said.collection, json.dumps(said.metadata, sort_keys=True)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
