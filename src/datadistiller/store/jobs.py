"""Documents and their jobs: accepted, read, cancelled, retried, deleted."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from psycopg.types.json import Jsonb

from datadistiller import errors, messages, model
from datadistiller.store.children import Children
from datadistiller.store.database import Connection, Database
from datadistiller.store.statements import Statements


@dataclass(frozen=True, slots=True)
class NewJob:
    """An upload whose bytes are safe in the object store."""

    job_id: UUID
    filename: str
    collection: str
    media_type: str
    file_size: int
    sha256: str
    object_key: str
    lane: model.Lane
    metadata: Mapping[str, Any]
    idempotency_key: str | None = None
    request_hash: str = ""
    password: str | None = field(default=None, repr=False)


class Claim(Protocol):
    """What an Idempotency-Key is claimed for: an upload, or a new version."""

    @property
    def job_id(self) -> UUID:
        """The document."""
        ...

    @property
    def idempotency_key(self) -> str | None:
        """The key, if there is one."""
        ...

    @property
    def request_hash(self) -> str:
        """What makes two requests the same."""
        ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of an upload. ``duplicate``: the same bytes were there; ``replayed``: the same key was used."""

    job: model.Job
    duplicate: bool
    replayed: bool


class Jobs:
    """Rows of ``document_jobs`` and what hangs on them."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("jobs")
        self._children = Children()

    async def accept(self, new: NewJob) -> Accepted:
        """Records an upload and its first message in one transaction; committed when this returns.

        Raises ``errors.IdempotencyMismatch`` if the key was used for another upload, and
        ``errors.InvalidRequest`` if a text cannot be stored.
        """
        try:
            if new.idempotency_key is None and new.password is None:
                async with self._db.connection() as conn:  # one statement, a transaction of its own
                    row = await self._one(conn, "insert_job", **_values(new))
                if row is not None:
                    return Accepted(job_of(row), duplicate=False, replayed=False)
            async with self._db.transaction() as conn:
                # Taken first: a second request with this key waits here until the first one is decided.
                replayed = await self.claim_key(conn, new)
                if replayed is not None:
                    return replayed
                accepted = await self._insert(conn, new)
                if accepted.job.job_id != new.job_id and new.idempotency_key is not None:
                    await self._one(conn, "point_key", key=new.idempotency_key, job_id=accepted.job.job_id)
                return accepted
        except errors.BrokenInvariant as error:
            raise errors.InvalidRequest(
                "The file name, collection, metadata or Idempotency-Key holds a character that cannot be stored.",
                hint="Leave out NUL characters and broken Unicode.",
            ) from error

    async def find_idempotent(self, key: str, request_hash: str) -> model.Job | None:
        """The job that was accepted with this key; ``errors.IdempotencyMismatch`` if the request differed."""
        async with self._db.connection() as conn:
            row = await self._one(conn, "find_key", key=key)
            if row is None:
                return None
            if row["request_hash"] != request_hash:
                raise errors.IdempotencyMismatch
            job = await self._one(conn, "get", job_id=row["job_id"])
            return None if job is None else job_of(job)

    async def get(self, job_id: UUID) -> model.Job:
        """The job; ``errors.JobNotFound`` if there is none or it was deleted."""
        async with self._db.connection() as conn:
            return job_of(await self.found(conn, "get", job_id))

    async def to_read(self, job_ids: Sequence[UUID]) -> Mapping[UUID, model.Job]:
        """The jobs that are there, each with the file that its attempt reads: the next version's, if there is one."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["to_read"], {"ids": list(job_ids)})).fetchall()
        return {row["job_id"]: _to_read(job_of(row)) for row in rows}

    async def list(
        self,
        status: model.Status | None = None,
        collection: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        parent: UUID | None = None,
    ) -> tuple[list[model.Job], str | None]:
        """Jobs, newest first, and the cursor of the next page (None at the end).

        Raises ``errors.InvalidRequest`` for a cursor that is none of ours.
        """
        at, last = _decode(cursor) if cursor else (None, None)
        async with self._db.connection() as conn:
            rows = await (
                await conn.execute(
                    self._sql["page"],
                    {
                        "status": status,
                        "collection": collection,
                        "at": at,
                        "id": last,
                        "limit": limit + 1,
                        "parent": parent,
                    },
                )
            ).fetchall()
        jobs = [job_of(row) for row in rows[:limit]]
        return jobs, _encode(jobs[-1]) if len(rows) > limit and jobs else None

    async def several(
        self, job_ids: Sequence[UUID], status: model.Status | None = None, collection: str | None = None
    ) -> Sequence[model.Job]:
        """Those of these jobs that are there and fit, newest first."""
        values = {"ids": job_ids, "status": status, "collection": collection}
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["several"], values)).fetchall()
        return [job_of(row) for row in rows]

    async def children(self, parent: UUID, limit: int, cursor: str | None) -> tuple[Sequence[model.Child], str | None]:
        """The files in a document, in its order, and the cursor of the next ones.

        Raises ``errors.JobNotFound`` and, for a cursor that is none of ours, ``errors.InvalidRequest``.
        """
        if cursor and not re.fullmatch("[0-9]{1,9}", cursor):
            raise _no_cursor()
        values = {"parent": parent, "after": int(cursor or 0), "limit": limit + 1}
        async with self._db.connection() as conn:
            await self.found(conn, "get", parent)
            rows = await (await conn.execute(self._sql["children"], values)).fetchall()
        found = [_child(row) for row in rows[:limit]]
        return found, str(found[-1].ordinal) if len(rows) > limit else None

    async def cancel(self, job_id: UUID) -> model.Job:
        """Stops a job and what came with it, once or again; ``errors.Conflict`` if all that came to an end already."""
        async with self._db.transaction() as conn:
            row = await self.found(conn, "get", job_id)
            family = await self._children.hold_family(conn, [job_id])
            row = await self.found(conn, "get", job_id)
            found = await (await conn.execute(self._sql["unfinished"], {"jobs": family})).fetchall()
            stopped = [one["job_id"] for one in found if one["job_id"] != job_id]
            if not model.Status(row["status"]).terminal:
                stopped.append(job_id)
            if not stopped and row["status"] != model.Status.CANCELLED:
                raise errors.Conflict(f"Job {job_id} is {row['status']} already; there is nothing to cancel.")
            for name in ("drop_messages", "unindex_chunks", "touch_chunks", "cancel"):
                await conn.execute(self._sql[name], {"jobs": stopped})
            return job_of(await self.found(conn, "get", job_id))

    async def retry(self, job_id: UUID, password: str | None = None) -> model.Job:
        """Starts a new attempt, and one of everything in it that failed or was cancelled.

        ``errors.Conflict`` unless the job failed, is partial or was cancelled, or something in it did or was. The
        password of the file is kept for this attempt only.
        """
        async with self._db.transaction() as conn:
            await self.found(conn, "get", job_id)
            family = await self._children.hold_family(conn, [job_id])
            row = await self.found(conn, "get", job_id)
            retried = model.Status(row["status"]) in model.RETRYABLE
            # What lies in it directly begins when it has been read, if it is still there.
            left = {job_id, *(await self._children.members(conn, job_id) if retried else ())}
            again = await self._children.restart(conn, [one for one in family if one not in left])
            if retried:
                return await self.restart(conn, job_id, row["lane"], password)
            if not again:
                raise errors.Conflict(
                    f"Job {job_id} is {row['status']}, and nothing in it failed or was cancelled; only failed, partial "
                    "or cancelled jobs can be retried."
                )
            return job_of(await self.found(conn, "get", job_id))

    async def password(self, delivery: messages.Delivery) -> str | None:
        """The password that was given for the attempt whose ingest message this is, while its lease holds."""
        async with self._db.connection() as conn:
            row = await self._one(conn, "password", message_id=delivery.message_id, token=delivery.token)
        return None if row is None else str(row["password"])

    async def delete(self, job_id: UUID) -> None:
        """Hides the document from every query at once, and what came with it only, and orders their removal.

        ``errors.JobNotFound`` if it is gone.
        """
        async with self._db.transaction() as conn:
            await self.found(conn, "get", job_id)
            await self._children.hold_family(conn, [job_id])
            await self.found(conn, "get", job_id)
            await self._children.delete(conn, [job_id, *await self._children.orphans(conn, gone=[job_id])])

    async def events(self, job_id: UUID, after_n: int = 0) -> Sequence[model.JobEvent]:
        """What happened to the job after event number ``after_n``, at most 1,000 events."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["events"], {"job_id": job_id, "after": after_n})).fetchall()
        return [model.JobEvent(**{**row, "status": model.Status(row["status"])}) for row in rows]

    async def advance(
        self, read: Sequence[tuple[messages.Delivery, int | None]], status: model.Status, progress: int
    ) -> frozenset[int]:
        """Moves on status and progress of the jobs of these deliveries, each with its number of pages if it is known.

        Gives the message ids of those whose lease and attempt are current.
        """
        values = {
            "messages": [delivery.message_id for delivery, _ in read], "tokens": [d.token for d, _ in read],
            "attempts": [d.attempt for d, _ in read], "page_counts": [pages for _, pages in read],
            "status": status.value, "progress": progress,
        }  # fmt: skip
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["advance"], values)).fetchall()
        return frozenset(row["id"] for row in rows)

    async def unfinished_count(self) -> int:
        """How many documents are on their way."""
        async with self._db.connection() as conn:
            row = await self._one(conn, "unfinished_count")
        return int(row["n"]) if row else 0

    async def count_by_status(self) -> dict[str, int]:
        """How many documents are in each status."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["count_by_status"])).fetchall()
        return {row["status"]: int(row["n"]) for row in rows}

    async def claim_key(self, conn: Connection, new: Claim) -> Accepted | None:
        """Enters the key for the new job, or gives the job of the request that had it before."""
        key = new.idempotency_key
        if key is None:
            return None
        for _ in range(3):
            if await self._one(conn, "insert_key", key=key, request_hash=new.request_hash, job_id=new.job_id):
                return None
            row = await self._one(conn, "find_key", key=key)
            if row is None:
                continue  # dropped meanwhile
            if row["request_hash"] != new.request_hash:
                raise errors.IdempotencyMismatch
            job = await self._one(conn, "get", job_id=row["job_id"])
            if job is not None:
                return Accepted(job_of(job), duplicate=False, replayed=True)
            await self._one(conn, "drop_key", key=key, job_id=row["job_id"])  # its document was deleted
        raise errors.Unavailable("The same Idempotency-Key is being used by others.", retry_after=1)

    async def _insert(self, conn: Connection, new: NewJob) -> Accepted:
        for _ in range(3):
            row = await self._one(conn, "insert_job", **_values(new))
            if row is not None:
                await self._keep_password(conn, new.job_id, new.password)
                return Accepted(job_of(row), duplicate=False, replayed=False)
            first = await self._one(conn, "same_content", collection=new.collection, sha256=new.sha256)
            if first is not None:
                await self._one(conn, "adopt", job_id=first["job_id"])
                return await self._duplicate(conn, first, new.password)
        raise errors.Unavailable("The document was uploaded and deleted at the same time by others.")

    async def _duplicate(self, conn: Connection, first: dict[str, Any], password: str | None) -> Accepted:
        status = model.Status(first["status"])
        if status in (model.Status.FAILED, model.Status.CANCELLED):
            restarted = await self.restart(conn, first["job_id"], first["lane"], password)
            return Accepted(restarted, duplicate=True, replayed=False)
        await self.add_password(conn, first["job_id"], password)
        return Accepted(job_of(first), duplicate=True, replayed=False)

    async def add_password(self, conn: Connection, job_id: UUID, password: str | None) -> None:
        """Keeps a password that came later than the file, if that waits to be read, or is read, without one."""
        if password is not None:
            values = {"job_id": job_id, "password": password, "topic": messages.INGEST_TOPIC}
            await conn.execute(self._sql["add_password"], values)

    async def restart(self, conn: Connection, job_id: UUID, lane: int, password: str | None = None) -> model.Job:
        """Starts a new attempt, in a transaction that holds the job's lock."""
        for name in ("drop_messages", "drop_letters"):
            await conn.execute(self._sql[name], {"jobs": [job_id]})
        row = await self.found(conn, "restart", job_id)
        values = {"topic": messages.INGEST_TOPIC, "job_id": job_id, "attempt": row["attempt"], "lane": int(lane)}
        await conn.execute(self._sql["insert_message"], values)
        await self._keep_password(conn, job_id, password)
        return job_of(row)

    async def _keep_password(self, conn: Connection, job_id: UUID, password: str | None) -> None:
        if password is not None:
            await conn.execute(self._sql["keep_password"], {"job_id": job_id, "password": password})

    async def found(self, conn: Connection, name: str, job_id: UUID) -> dict[str, Any]:
        """The row of a statement about one document; ``errors.JobNotFound`` if there is none."""
        row = await self._one(conn, name, job_id=job_id)
        if row is None:
            raise errors.JobNotFound(f"There is no document with job id {job_id}.")
        return row

    async def _one(self, conn: Connection, name: str, **values: object) -> dict[str, Any] | None:
        return await (await conn.execute(self._sql[name], values)).fetchone()


def _to_read(job: model.Job) -> model.Job:
    return replace(job, **{f.name: getattr(job.next, f.name) for f in fields(job.next)}) if job.next else job


def _values(new: NewJob) -> dict[str, object]:
    return {
        "job_id": new.job_id, "filename": new.filename, "collection": new.collection, "media_type": new.media_type,
        "file_size": new.file_size, "sha256": new.sha256, "object_key": new.object_key, "lane": int(new.lane),
        "metadata": Jsonb(dict(new.metadata)), "topic": messages.INGEST_TOPIC,
    }  # fmt: skip


def job_of(row: Mapping[str, Any]) -> model.Job:
    """The job a row of ``document_jobs`` stands for."""
    return model.Job(
        job_id=row["job_id"], filename=row["filename"], collection=row["collection"], media_type=row["media_type"],
        file_size=row["file_size"], sha256=row["sha256"], object_key=row["object_key"], lane=model.Lane(row["lane"]),
        metadata=row["metadata"], status=model.Status(row["status"]), attempt=row["attempt"],
        progress=row["progress"], total_chunks=row["total_chunks"], processed_chunks=row["processed_chunks"],
        failed_chunks=row["failed_chunks"], page_count=row["page_count"], failed_pages=row["failed_pages"],
        searchable=row["searchable"], error=model.Problem(**row["error"]) if row["error"] else None,
        created_at=row["created_at"], updated_at=row["updated_at"], finished_at=row["finished_at"],
        version=row["version"], next=_next_of(row["next"]) if row["next"] else None,
        depth=row["depth"], root_job_id=row["root_job_id"], parent=parent_of(row.get("parent")),
        children=row.get("children") or {},
    )  # fmt: skip


def _next_of(stored: Mapping[str, Any]) -> model.NextVersion:
    names = ("version", "filename", "media_type", "file_size", "sha256", "object_key")
    return model.NextVersion(**{name: stored[name] for name in names})


def _child(row: Mapping[str, Any]) -> model.Child:
    problem = model.Problem(**row["problem"]) if row["problem"] else None
    job = job_of(row) if row["job_id"] is not None else None
    return model.Child(row["ordinal"], row["path"], row["size"], job, problem)


def parent_of(found: Mapping[str, Any] | None) -> model.Parent | None:
    """The parent that the function ``parent_of`` of the database gives."""
    return model.Parent(UUID(found["job_id"]), found["filename"], found["path"]) if found else None


def _encode(job: model.Job) -> str:
    return base64.urlsafe_b64encode(f"{job.created_at.isoformat()}|{job.job_id}".encode()).decode()


def _decode(cursor: str) -> tuple[datetime, UUID]:
    try:
        at, job_id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode("ascii").split("|")
        return datetime.fromisoformat(at), UUID(job_id)
    except (ValueError, binascii.Error) as error:
        raise _no_cursor() from error


def _no_cursor() -> errors.InvalidRequest:
    return errors.InvalidRequest("The cursor is not one that this list gave.", hint="Start without it.")
