"""The first stage: the bytes of an upload become a stored object and a pending job, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from datadistiller import errors, model, objects
from datadistiller.messages import INGEST_TOPIC
from datadistiller.parsing import sniff
from datadistiller.store import jobs, signals

#: What the type of a file is told from.
HEAD_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Details:
    """What the uploader says about a file; known only after its bytes, as form fields may follow the file."""

    collection: str
    metadata: Mapping[str, Any]
    lane: model.Lane
    idempotency_key: str | None


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
        head = await _read_head(body)
        media_type = _media_type(head[:HEAD_BYTES], filename)
        job_id = uuid4()
        key = objects.object_key(job_id, filename)
        digest = hashlib.sha256()
        size = await self._store.put(key, self._measured(filename, head, body, digest.update))
        recording = False
        try:
            said = await details()
            sha256 = digest.hexdigest()
            wanted = _request_hash(sha256, filename, said)
            recording = True
            accepted = await self._jobs.accept(
                jobs.NewJob(job_id=job_id, filename=filename, collection=said.collection, media_type=media_type,
                            file_size=size, sha256=sha256, object_key=key, lane=said.lane, metadata=said.metadata,
                            idempotency_key=said.idempotency_key, request_hash=wanted)
            )  # fmt: skip
        except BaseException as error:
            if not recording or isinstance(error, errors.RequestError):  # the database surely does not refer to it
                await self._store.delete(key)
            raise
        if accepted.job.object_key != key:
            await self._store.replace_missing(accepted.job.object_key, spare=key)
        if not accepted.job.status.terminal:
            await self._notifier.notify(signals.WORK, INGEST_TOPIC)
        return accepted

    async def _measured(
        self, filename: str, head: bytes, rest: AsyncIterator[bytes], update: Callable[[bytes], None]
    ) -> AsyncIterator[bytes]:
        """The whole body, hashed on the way, until it is too large."""
        size, chunk = 0, head
        while chunk:
            size += len(chunk)
            if size > self._max_bytes:
                raise errors.FileTooLarge(f"'{filename}' is larger than the limit of {self._max_bytes} bytes.")
            update(chunk)
            yield chunk
            chunk = await anext(rest, b"")


async def _read_head(body: AsyncIterator[bytes]) -> bytes:
    head = bytearray()
    while len(head) < HEAD_BYTES and (chunk := await anext(body, b"")):
        head += chunk
    return bytes(head)


def _media_type(head: bytes, filename: str) -> str:
    if not head:
        raise errors.FileEmpty(f"'{filename}' is empty (0 bytes).")
    try:
        return sniff.sniff(head, filename)
    except errors.EmptyDocument as error:
        raise errors.FileEmpty(error.message, hint=error.hint) from error
    except errors.UnreadableDocument as error:
        raise errors.TypeNotSupported(error.message, hint=error.hint) from error


def _request_hash(sha256: str, filename: str, said: Details) -> str:
    """What makes two requests with one Idempotency-Key the same."""
    parts = [sha256, filename, said.collection, json.dumps(said.metadata, sort_keys=True)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
