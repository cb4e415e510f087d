"""New versions of documents. The newest one asked for wins; the one that queries find stays until it is complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from datadistiller import errors, model
from datadistiller.store.database import Connection, Database
from datadistiller.store.jobs import Accepted, Jobs, job_of
from datadistiller.store.statements import Statements


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A changed file whose bytes are safe in the object store."""

    job_id: UUID
    filename: str
    media_type: str
    file_size: int
    sha256: str
    object_key: str
    lane: model.Lane | None  # None: as the document has it
    metadata: Mapping[str, Any] | None  # None: as the document has it
    expected: frozenset[str] | None = None  # SHA-256 of what the newest version may be
    idempotency_key: str | None = None
    request_hash: str = ""
    password: str | None = field(default=None, repr=False)


class Versions:
    """What becomes of changed files."""

    def __init__(self, db: Database, jobs: Jobs) -> None:
        self._db = db
        self._jobs = jobs
        self._sql = Statements("versions")

    async def accept(self, new: NewVersion) -> Accepted:
        """Records a new version and the message that starts it, in one transaction; committed when this returns.

        The same bytes as the newest version's are a duplicate: nothing is done, unless that one failed or was
        cancelled. The bytes that queries find already call off what was under way. Raises ``errors.JobNotFound``,
        ``Conflict`` (it only came with another document), ``VersionChanged``, ``IdempotencyMismatch``, and
        ``InvalidRequest`` if a text cannot be stored.
        """
        try:
            async with self._db.transaction() as conn:
                replayed = await self._jobs.claim_key(conn, new)
                if replayed is not None:
                    return replayed
                row = await self._jobs.found(conn, "lock", new.job_id)
                job = job_of(row)
                if not row["uploaded"]:
                    raise errors.Conflict(
                        f"Document {new.job_id} only came with the one it lies in; it has no versions of its own.",
                        hint="Give that one a new version, or upload this file by itself.",
                    )
                if new.expected is not None and job.newest.sha256 not in new.expected:
                    raise errors.VersionChanged
                return await self._take(conn, job, new)
        except errors.BrokenInvariant as error:
            raise errors.InvalidRequest(
                "The file name, metadata or Idempotency-Key holds a character that cannot be stored.",
                hint="Leave out NUL characters and broken Unicode.",
            ) from error

    async def _take(self, conn: Connection, job: model.Job, new: NewVersion) -> Accepted:
        if new.sha256 == job.newest.sha256:
            ended = job.next is not None or job.status in (model.Status.FAILED, model.Status.CANCELLED)
            if not (ended and job.status.terminal):
                await self._jobs.add_password(conn, job.job_id, new.password)
                return Accepted(job, duplicate=True, replayed=False)
            restarted = await self._jobs.restart(conn, job.job_id, job.lane, new.password)
            return Accepted(restarted, duplicate=True, replayed=False)
        lane = job.lane if new.lane is None else new.lane
        await self._jobs.restart(conn, job.job_id, lane, new.password)
        await self._call_off(conn, job)
        duplicate = new.sha256 == job.sha256
        if not duplicate:
            values = {"filename": new.filename, "media_type": new.media_type, "file_size": new.file_size,
                      "sha256": new.sha256, "object_key": new.object_key, "version": _number(job)}  # fmt: skip
            metadata = Jsonb(dict(job.metadata if new.metadata is None else new.metadata))
            await conn.execute(self._sql["set"], {"job_id": job.job_id, "next": Jsonb(values), "metadata": metadata})
        return Accepted(job_of(await self._jobs.found(conn, "get", job.job_id)), duplicate, replayed=False)

    async def _call_off(self, conn: Connection, job: model.Job) -> None:
        """What of the document queries do not find leaves the index; its file is nobody's any more."""
        for name in ("retire", "unindex_chunks", "touch_chunks", "clear"):
            await conn.execute(self._sql[name], {"job_id": job.job_id})


def _number(job: model.Job) -> int:
    return (job.next.version if job.next else job.version) + 1
