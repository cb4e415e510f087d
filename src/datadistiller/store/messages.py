"""The messages: claimed or begun with a lease, settled in one transaction with their results, reaped when lost.

Lock order, always: job -> messages -> chunks. Only ``runtime.worker`` and the reaper call this.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from psycopg.types.json import Jsonb

from datadistiller import errors, model
from datadistiller.messages import (
    CHUNK_TOPIC,
    INGEST_TOPIC,
    REMOVE_TOPIC,
    Begun,
    Delivery,
    Done,
    Embedded,
    Failed,
    Ingested,
    Outcome,
    Removed,
)
from datadistiller.store import frames, reports
from datadistiller.store.completion import Completion
from datadistiller.store.database import Connection, Database
from datadistiller.store.results import Results
from datadistiller.store.statements import Statements

LONGEST_BACKOFF = 60.0  # seconds between two tries
LONGEST_DELAY = 600.0  # seconds that a lack of capacity may ask a message to wait before the next look


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient a topic is."""

    tries: int  # reported failures until the dead letter
    solo_crashes: int  # crashes while delivered alone until the dead letter
    park_seconds: float = 24 * 3600  # longest wait for capacity


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settlement did."""

    refused: Sequence[int]  # ids of messages that were no longer ours: nothing of them was written
    jobs: Sequence[UUID]  # jobs whose state may have changed
    next_topics: frozenset[str]  # topics that got messages
    changed: bool  # the index has something to read


@dataclass(frozen=True, slots=True)
class TopicDepth:
    """How much waits in a topic."""

    topic: str
    due: int
    leased: int
    delayed: int
    oldest_age_seconds: float
    dead: int


class Messages:
    """Claims or begins, settles, releases and reaps messages."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("messages")
        self._results = Results()
        self._completion = Completion()

    async def claim(self, topic: str, limit: int, boot: UUID, lease_seconds: float) -> list[Delivery]:
        """Begins up to ``limit`` due messages, the oldest first; leased to ``boot`` when this returns.

        A suspect (it lost a lease before) is given out alone, in its turn: behind what waited longer, but not
        behind all that comes. Begun ingest messages move their pending job to ``processing``.
        """
        values = {"topic": topic, "limit": limit, "boot": boot, "seconds": float(lease_seconds)}
        async with self._db.connection() as conn:
            statement = self._sql["claim_ingest" if topic == INGEST_TOPIC else "claim"]
            rows = await (await conn.execute(statement, values)).fetchall()
        return _deliveries(rows)

    async def begin(self, topic: str, ids: Sequence[int], limit: int, boot: UUID, lease_seconds: float) -> Begun:
        """The same for messages that a broker delivered: up to ``limit`` of these ids, the most urgent ones.

        Ids of other topics, unknown ones and those that are not due are passed over without an error.
        """
        values = {"topic": topic, "ids": list(ids), "limit": limit, "boot": boot, "seconds": float(lease_seconds)}
        async with self._db.connection() as conn:
            statement = self._sql["begin_ingest" if topic == INGEST_TOPIC else "begin"]
            rows = await (await conn.execute(statement, values)).fetchall()
        begun = _deliveries([row for row in rows if row["lease_token"] is not None])
        return Begun(begun, frozenset(row["id"] for row in rows if row["lease_token"] is None))

    async def overdue(self, topic: str, seconds: float, limit: int) -> list[int]:
        """Ids of messages that have been due for ``seconds`` and that nobody has begun, the most urgent first."""
        values = {"topic": topic, "seconds": float(seconds), "limit": limit}
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["overdue"], values)).fetchall()
        return [row["id"] for row in rows]

    async def settle(self, limits: Limits, outcomes: Sequence[Outcome], model_id: int | None = None) -> Settled:
        """Gives each message one of its fates, all in one transaction.

        A result whose lease, attempt or job is no longer current is refused: nothing of it is written, the
        others of the batch settle. Raises ``errors.Unavailable`` if the database is away (nothing is settled, or
        all of it if the answer to COMMIT was lost: settling again then refuses) and ``errors.BrokenInvariant`` if
        a result cannot be stored (nothing is settled; the caller finds out which by settling them one by one).
        """
        outcomes = [_readable(outcome) for outcome in outcomes]
        done = [outcome for outcome in outcomes if isinstance(outcome, Done)]
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        async with self._db.transaction() as conn:
            await self._results.hold(conn, outcomes)
            await conn.execute(self._sql["lock_jobs"], {"jobs": sorted({o.delivery.job_id for o in outcomes})})
            taken = await self._take_done(conn, done, model_id)
            kept, buried = await self._take_failed(conn, failed, limits)
            read = {d.delivery.job_id: d.result for d in taken if isinstance(d.result, Ingested)}
            # What was read for the first time cannot be complete, nor concern the index: its chunks are all new.
            first = {d.delivery.job_id for d in taken if d.delivery.job_id in read and d.delivery.attempt == 1}
            ended = sorted({*read, *(delivery.job_id for delivery in buried)} - first)
            if ended:
                await self._completion.finish(conn, ended)
        settled = {d.delivery.message_id for d in taken} | kept
        return Settled(
            refused=[o.delivery.message_id for o in outcomes if o.delivery.message_id not in settled],
            jobs=sorted({*ended, *first}),
            next_topics=frozenset(topic for result in read.values() for topic in _topics(result)),
            changed=len(taken) > len(first),
        )

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        """Gives messages back unfinished, uncharged: a drain, not a failure."""
        if deliveries:
            async with self._db.connection() as conn:
                await conn.execute(self._sql["free"], _keys(deliveries))

    async def abandon(self, topic: str, boot: UUID, keep: Sequence[UUID]) -> None:
        """Frees, uncharged, what this process holds of a topic without knowing; it knows of the leases ``keep``."""
        async with self._db.connection() as conn:
            await conn.execute(self._sql["abandon"], {"topic": topic, "boot": boot, "keep": list(keep)})

    async def held(self, boot: UUID, message_ids: Sequence[int]) -> set[int]:
        """Which of these messages this worker process still holds."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["held"], {"boot": boot, "ids": list(message_ids)})).fetchall()
        return {row["id"] for row in rows}

    async def reap(self, timeout_seconds: float, limits: Mapping[str, Limits]) -> int:
        """Frees messages of workers that are gone, silent or past their lease; returns how many.

        Each costs the message a crash; one that crashed too many workers alone becomes a dead letter. Only the
        database's clock counts; if that was set back, what it left in the future is brought back to now.
        """
        topics = {"topics": list(limits), "longest": 2 * LONGEST_DELAY}
        async with self._db.connection() as conn:
            await conn.execute(self._sql["repair_beats"])
            await conn.execute(self._sql["repair_delays"], topics)
            rows = await (await conn.execute(self._sql["lost"], {"timeout": float(timeout_seconds)})).fetchall()
        for row in rows:
            # The first crash may have been a neighbour's fault in the same batch; the later ones were solo.
            if row["crashes"] > limits[row["topic"]].solo_crashes:
                await self._bury_poison(row["id"], row["job_id"], row["crashes"])
        return len(rows)

    async def depths(self) -> list[TopicDepth]:
        """How much waits, per topic that has anything."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["depths"])).fetchall()
            dead = {r["topic"]: r["dead"] for r in await (await conn.execute(self._sql["dead_counts"])).fetchall()}
        live = {row["topic"]: row for row in rows}
        zero = {"due": 0, "leased": 0, "delayed": 0, "oldest_age_seconds": 0.0}
        return [
            TopicDepth(**{**zero, **live.get(topic, {}), "topic": topic, "dead": dead.get(topic, 0)})
            for topic in sorted({*live, *dead})
        ]

    async def _take_done(self, conn: Connection, done: Sequence[Done], model_id: int | None) -> Sequence[Done]:
        """Records the results that are still wanted; returns those."""
        if not done:
            return ()
        rows = await (await conn.execute(self._sql["take_done"], _keys([d.delivery for d in done]))).fetchall()
        ours = {int(row["id"]) for row in rows}
        taken = [d for d in done if d.delivery.message_id in ours]
        await self._results.ingested(conn, taken)
        await self._results.removed(conn, [d.delivery.job_id for d in taken if isinstance(d.result, Removed)])
        vectors = {d.delivery.chunk_id: d.result for d in taken if isinstance(d.result, Embedded)}
        if vectors:
            if model_id is None:
                raise errors.BrokenInvariant("Vectors were settled without naming their model.")
            stored = [_stored(embedded) for embedded in vectors.values()]
            found = [embedded.found for embedded in vectors.values()]
            values = {"model": model_id, "chunks": list(vectors), "vectors": stored, "found": found}
            await conn.execute(self._sql["store_vectors"], values)
        return taken

    async def _take_failed(
        self, conn: Connection, failed: Sequence[Failed], limits: Limits
    ) -> tuple[set[int], list[Delivery]]:
        """Decides about the failed messages that are still ours; returns their ids, and those that died."""
        if not failed:
            return set(), []
        rows = await (await conn.execute(self._sql["take_failed"], _keys([f.delivery for f in failed]))).fetchall()
        tries = {int(row["id"]): int(row["tries"]) for row in rows}
        ours = [f for f in failed if f.delivery.message_id in tries]
        buried = [
            outcome.delivery
            for outcome in ours
            if not await self._goes_on(conn, outcome, tries[outcome.delivery.message_id], limits)
        ]
        return set(tries), buried

    async def _goes_on(self, conn: Connection, failed: Failed, tries: int, limits: Limits) -> bool:
        """Back to the queue, retry, or parked; False if it became a dead letter. The error's class decides."""
        error, charged = failed.error, 1
        values = {"id": failed.delivery.message_id, "entry": Jsonb([frames.entry(error)])}
        if isinstance(error, errors.LeaseLost):
            await conn.execute(self._sql["free"], _keys([failed.delivery]))
            return True
        if isinstance(error, errors.CapacityError | errors.Unavailable | errors.Overloaded):
            charged = 0
            wait = {"delay": min(LONGEST_DELAY, max(0.1, error.retry_after)), "longest": limits.park_seconds}
            if await (await conn.execute(self._sql["park"], {**values, **wait})).fetchone():
                return True
        elif not isinstance(error, errors.PermanentError) and tries + 1 < limits.tries:
            delay = min(LONGEST_BACKOFF, 0.5 * 2.0 ** min(tries, 20)) * random.uniform(0.75, 1.25)
            await conn.execute(self._sql["retry"], {**values, "delay": delay})
            return True
        await self._bury(conn, failed.delivery.message_id, error, charged, failed.read)
        return False

    async def _bury(
        self,
        conn: Connection,
        message_id: int,
        error: errors.DataDistillerError,
        charged: int,
        read: Ingested | None = None,
    ) -> None:
        problem = Jsonb(error.problem().as_json())
        values = {
            "id": message_id, "error": problem, "type": frames.type_of(error), "frames": Jsonb(frames.of(error)),
            "entry": Jsonb([frames.entry(error)]), "charged": charged,
        }  # fmt: skip
        row = await (await conn.execute(self._sql["bury"], values)).fetchone()
        if row is None:
            return
        key = {"chunk_id": row["chunk_id"], "job_id": row["job_id"], "attempt": row["job_attempt"], "error": problem}
        if row["topic"] == CHUNK_TOPIC:
            await conn.execute(self._sql["fail_chunk"], key)
        elif row["topic"] == INGEST_TOPIC:
            report = Jsonb(reports.noted(read, row["job_attempt"])) if read else None
            await conn.execute(self._sql["fail_job"], {**key, "report": report})

    async def _bury_poison(self, message_id: int, job_id: UUID, crashes: int) -> None:
        error = errors.WorkerCrashed(f"The worker died {crashes} times while it did this work.")
        async with self._db.transaction() as conn:
            await self._completion.hold(conn, [job_id])
            await conn.execute(self._sql["lock_jobs"], {"jobs": [job_id]})
            if await (await conn.execute(self._sql["still_free"], {"id": message_id})).fetchone():
                await self._bury(conn, message_id, error, charged=0)
                await self._completion.finish(conn, [job_id])


def _deliveries(rows: Sequence[Mapping[str, Any]]) -> list[Delivery]:
    return [
        Delivery(
            message_id=r["id"], topic=r["topic"], job_id=r["job_id"], attempt=r["job_attempt"], chunk_id=r["chunk_id"],
            lane=model.Lane(r["lane"]), tries=r["tries"], crashes=r["crashes"], token=r["lease_token"],
        )
        for r in sorted(rows, key=lambda r: int(r["id"]))
    ]  # fmt: skip


def _keys(deliveries: Sequence[Delivery]) -> dict[str, object]:
    return {"ids": [d.message_id for d in deliveries], "tokens": [d.token for d in deliveries]}


def _readable(outcome: Outcome) -> Outcome:
    """A reading without a chunk would never finish: it is a failure, whatever the stage said."""
    if isinstance(outcome, Done) and isinstance(outcome.result, Ingested) and not outcome.result.chunks:
        return Failed(outcome.delivery, errors.NoText(), outcome.result)
    return outcome


def _topics(result: Ingested) -> tuple[str, ...]:
    """Where a reading leaves messages; its members may replace others, which then are removed."""
    return (CHUNK_TOPIC, INGEST_TOPIC, REMOVE_TOPIC) if result.members else (CHUNK_TOPIC,)


def _stored(embedded: Embedded) -> bytes:
    """A vector as it is stored: float16, little endian. ``errors.BrokenInvariant`` if it is none."""
    vector = embedded.vector
    if vector.dtype != np.float16 or vector.ndim != 1 or not np.isfinite(vector).all():
        raise errors.BrokenInvariant(f"A vector is not finite float16[dim] but {vector.dtype}{list(vector.shape)}.")
    return vector.astype("<f2", copy=False).tobytes()
