"""The messages of the pipeline: one frozen type for what a worker holds, one for each result of a stage.

A message carries ids, never contents. A ``Delivery`` is a message that this worker has begun: it holds
the lease. A stage turns deliveries into ``Outcome``s; only ``runtime.worker`` settles them. What a broker carries is
a ``Reference``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from datadistiller import errors, model

if TYPE_CHECKING:  # what only speaks of messages, such as the command line, need not carry it
    import numpy as np
    from numpy.typing import NDArray

INGEST_TOPIC = "doc-ingest-requests"
CHUNK_TOPIC = "chunk-processing"
REMOVE_TOPIC = "doc-removals"
EVENTS_TOPIC = "document-events"

#: The version of the wire form on a broker: ``{"v": 1, "id": ..., "job_id": ..., "chunk_id": ...}``.
WIRE_VERSION = 1
#: The version of what ``document-events`` and the dead-letter topics carry.
ANNOUNCED_VERSION = 1
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Delivery:
    """A begun message. ``token`` is the fencing token that settling must show."""

    message_id: int
    topic: str
    job_id: UUID
    attempt: int
    chunk_id: UUID | None
    lane: model.Lane
    tries: int  # reported failures before this delivery
    crashes: int  # lost leases before this delivery; if > 0 it is delivered alone
    token: UUID


@dataclass(frozen=True, slots=True)
class Begun:
    """What became of messages that were to be begun by their ids. Those in neither part are nobody's work any more."""

    deliveries: Sequence[Delivery]
    later: frozenset[int]  # still due: not this time, or somebody touches them at this moment


@dataclass(frozen=True, slots=True)
class Reference:
    """What a broker carries of a message."""

    message_id: int
    job_id: UUID
    chunk_id: UUID | None

    @property
    def key(self) -> str:
        """What spreads messages over partitions: the chunks of one document must not all wait for one worker."""
        return str(self.chunk_id or self.job_id)


@dataclass(frozen=True, slots=True)
class Spent:
    """What reading a document took: bytes of its file, and seconds by the clock, waits for a parser included."""

    bytes: int = 0
    parse_seconds: float = 0.0
    chunk_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ingested:
    """Result of the ingest stage: replaces pages, chunks and children of the job, one next message per chunk to embed.

    The bytes of its members are in the object store.
    """

    document: model.ParsedDocument
    chunks: Sequence[model.Chunk]
    members: Sequence[model.Member] = ()
    spent: Spent = Spent()


@dataclass(frozen=True, slots=True)
class IndexedText:
    """What is embedded of a chunk, and its vector ``float16[dim]`` if a chunk with the same text has one already."""

    text: str
    vector: NDArray[np.float16] | None


@dataclass(frozen=True, slots=True)
class Embedded:
    """Result of the embed stage for one chunk: the unit vector as ``float16[dim]``; ``found``: it was there before."""

    vector: NDArray[np.float16]
    found: bool = False


@dataclass(frozen=True, slots=True)
class Removed:
    """Result of the remove stage: the object is gone, the rows may go."""


Result = Ingested | Embedded | Removed


@dataclass(frozen=True, slots=True)
class Done:
    """The message is done; ``result`` is recorded and the row removed in one transaction."""

    delivery: Delivery
    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """The message failed; ``error``'s class decides its fate: retry, dead letter, or parked.

    ``read`` is what could be read of a document that gives nothing to search, for its report.
    """

    delivery: Delivery
    error: errors.DataDistillerError
    read: Ingested | None = None


Outcome = Done | Failed


@dataclass(frozen=True, slots=True)
class Announcement:
    """What ``document-events`` says of a document: ``queueing/document-events.v1.json`` is its schema.

    The counts and the error are those of the document when it was announced: None if it had moved on by then.
    """

    job_id: UUID
    n: int  # grows within a document
    attempt: int
    event: str  # accepted, completed, failed, partial, cancelled or deleted
    at: datetime
    collection: str | None
    total_chunks: int | None
    failed_chunks: int | None
    error_code: str | None

    def encode(self) -> bytes:
        """The wire form. No name, no text: what is deleted here must not live on there."""
        return _json(
            v=ANNOUNCED_VERSION, event=self.event, job_id=str(self.job_id), n=self.n, attempt=self.attempt,
            at=self.at.isoformat(), collection=self.collection, total_chunks=self.total_chunks,
            failed_chunks=self.failed_chunks, error_code=self.error_code,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Obituary:
    """What a dead-letter topic says of a message. The letter itself, with its history, stays in the database."""

    dead_id: int
    topic: str
    reference: Reference
    attempt: int
    tries: int
    crashes: int
    error: model.Problem
    error_type: str
    died_at: datetime

    def encode(self) -> bytes:
        """The wire form."""
        chunk_id = self.reference.chunk_id
        return _json(
            v=ANNOUNCED_VERSION, dead_id=self.dead_id, id=self.reference.message_id,
            job_id=str(self.reference.job_id), chunk_id=str(chunk_id) if chunk_id else None, attempt=self.attempt,
            tries=self.tries, crashes=self.crashes, error=self.error.as_json(), error_type=self.error_type,
            died_at=self.died_at.isoformat(),
        )  # fmt: skip


def encode(reference: Reference) -> bytes:
    """The wire form."""
    chunk_id = str(reference.chunk_id) if reference.chunk_id else None
    return _json(v=WIRE_VERSION, id=reference.message_id, job_id=str(reference.job_id), chunk_id=chunk_id)


def decode(value: bytes | None) -> Reference:
    """Reads the wire form. ``errors.Undecodable`` says what is wrong without quoting it."""
    try:
        form = json.loads(value or b"")
    except (ValueError, RecursionError):
        raise errors.Undecodable("The record is not JSON.") from None
    if not isinstance(form, dict):
        raise errors.Undecodable("The record is not a JSON object.")
    if form.get("v") != WIRE_VERSION:
        raise errors.Undecodable(f"The record is not of version {WIRE_VERSION}.")
    try:
        chunk_id = form["chunk_id"]
        reference = Reference(form["id"], UUID(form["job_id"]), None if chunk_id is None else UUID(chunk_id))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise errors.Undecodable("The record lacks an id, or has one of another form.") from None
    if type(reference.message_id) is not int or not 0 < reference.message_id <= _LARGEST_ID:
        raise errors.Undecodable("The record's message id is not a positive number.")
    return reference


def _json(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
