"""The messages of the pipeline: one frozen type for what a worker holds, one for each result of a stage.

A message carries ids, never contents. A ``Delivery`` is a message that this worker has begun: it holds
the lease. A stage turns deliveries into ``Outcome``s; only ``runtime.worker`` settles them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from datadistiller import errors, model

if TYPE_CHECKING:  # what only speaks of messages, such as the command line, need not carry it
    import numpy as np
    from numpy.typing import NDArray

INGEST_TOPIC = "doc-ingest-requests"
CHUNK_TOPIC = "chunk-processing"
REMOVE_TOPIC = "doc-removals"

#: The version of the wire form on a broker: ``{"v": 1, "id": ..., "job_id": ..., "chunk_id": ...}``.
WIRE_VERSION = 1


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
class Ingested:
    """Result of the ingest stage: replaces pages and chunks of the job, one next message per chunk to embed."""

    document: model.ParsedDocument
    chunks: Sequence[model.Chunk]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Result of the embed stage for one chunk: the unit vector as ``float16[dim]``."""

    vector: NDArray[np.float16]


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
    """The message failed; ``error``'s class decides its fate: retry, dead letter, or parked."""

    delivery: Delivery
    error: errors.DataDistillerError


Outcome = Done | Failed
