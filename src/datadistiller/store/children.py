"""Which documents lie in which: recorded with the reading that found them, deleted with the last that holds them.

The steps of ``Children`` run in a transaction of their caller. Whoever changes links or follows them to delete calls
``hold_family`` first, which takes one lock for all that do, then the jobs' locks in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from datadistiller import errors, model
from datadistiller.messages import INGEST_TOPIC, REMOVE_TOPIC
from datadistiller.store.database import Connection, Database
from datadistiller.store.statements import Statements

_OWN = errors.UnsupportedType("It is an earlier version of the file that it lies in.").problem()


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a document: of which version, which one queries find, and whether it was ever read before."""

    job_id: UUID
    version: int
    searched: int
    again: bool


class Children:
    """Links between documents, and the documents that only exist through them."""

    def __init__(self) -> None:
        self._sql = Statements("children")
        self._jobs = Statements("jobs")

    async def hold_members(self, conn: Connection, found: Mapping[UUID, Sequence[model.Member]]) -> None:
        """Locks documents that were read, and what ``record`` may change for what was found in each."""
        await conn.execute(self._sql["lock"])
        given_up: list[UUID] = []
        for parent, members in found.items():
            if hashes := [member.sha256 for member in members if member.sha256]:
                rows = await self._all(conn, "given_up", parent=parent, hashes=hashes)
                given_up += [row["job_id"] for row in rows]
        await self.hold_family(conn, [*found, *given_up])

    async def hold_family(self, conn: Connection, jobs: Sequence[UUID]) -> list[UUID]:
        """Locks these documents and all that lie in them, and the links; returns their ids."""
        await conn.execute(self._sql["lock"])
        family = [row["id"] for row in await self._all(conn, "family", jobs=list(jobs))]
        await conn.execute(self._sql["lock_jobs"], {"jobs": family})
        return family

    async def orphans(self, conn: Connection, gone: Sequence[UUID] = (), loose: Sequence[UUID] = ()) -> list[UUID]:
        """What should go when ``gone`` do, or when ``loose`` ones have lost a parent: not these ``gone`` themselves."""
        rows = await self._all(conn, "orphans", gone=list(gone), loose=list(loose))
        return [row["job_id"] for row in rows]

    async def record(self, conn: Connection, reading: Reading, members: Sequence[model.Member]) -> None:
        """Links what a reading gave; new documents begin, and what now lies in nothing is deleted.

        What lies in the version that queries find stays until another one takes over. ``errors.TransientError`` if a
        document that had the bytes of a member was deleted since the member was read.
        """
        parent, versions = reading.job_id, {"version": reading.version, "searched": reading.searched}
        before = await self._all(conn, "linked", parent=parent) if reading.again else []
        deleted = {row["sha256"]: row["child_id"] for row in before if row["deleted"]}
        fresh = {m.sha256: m for m in members if m.job_id is not None and m.sha256 not in deleted}
        if fresh:
            await conn.execute(self._sql["insert_children"], {"parent": parent, **_columns(list(fresh.values()))})
        hashes = list({m.sha256 for m in members if m.sha256} - deleted.keys())
        rows = await self._all(conn, "same_content", parent=parent, hashes=hashes) if hashes else []
        children = {row["sha256"]: row["job_id"] for row in rows}
        if len(children) < len(hashes):
            raise errors.TransientError("A document was deleted while another one with the same file was read.")
        members = [_but_itself(m, children.get(m.sha256) == parent) for m in members]
        await conn.execute(self._sql["unlink"], {"parent": parent, **versions})
        links = _links(members, deleted | children)
        await conn.execute(self._sql["link"], {"parent": parent, **versions, **links})
        known = {row["child_id"] for row in before if not row["deleted"]}
        if children:
            await self.restart(conn, list(known & set(children.values())), list(children.values()))
        lost = known - set(children.values())
        if lost:
            await self.delete(conn, await self.orphans(conn, loose=list(lost)))

    async def members(self, conn: Connection, parent: UUID) -> list[UUID]:
        """The documents that lie in this one itself, in whichever version."""
        return [row["child_id"] for row in await self._all(conn, "linked", parent=parent)]

    async def restart(self, conn: Connection, jobs: Sequence[UUID], cancelled: Sequence[UUID] = ()) -> bool:
        """Begins what failed or was cancelled of ``jobs`` again, and of others what was cancelled; whether any did."""
        values = {"jobs": list(jobs), "cancelled": list(cancelled), "topic": INGEST_TOPIC}
        return bool(await self._all(conn, "restart", **values))

    async def delete(self, conn: Connection, jobs: Sequence[UUID]) -> None:
        """Hides documents from every query and orders their removal."""
        if jobs:
            for name in ("drop_messages", "drop_letters", "touch_chunks", "delete", "order_removal"):
                await conn.execute(self._jobs[name], {"jobs": list(jobs), "topic": REMOVE_TOPIC})

    async def _all(self, conn: Connection, name: str, **values: object) -> list[dict[str, Any]]:
        return await (await conn.execute(self._sql[name], values)).fetchall()


class Family:
    """What is asked of the links outside of a change."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("children")

    async def spent(self, job: model.Job) -> tuple[int, int]:
        """Files and bytes taken out of the upload that the document came with, or is, by readings of others in it."""
        async with self._db.connection() as conn:
            values = {"root": job.root_job_id or job.job_id, "job": job.job_id}
            row = await (await conn.execute(self._sql["spent"], values)).fetchone()
        assert row is not None
        return int(row["members"]), int(row["bytes"])

    async def known(self, collection: str, sha256: str) -> bool:
        """Whether the collection has a document with these bytes."""
        async with self._db.connection() as conn:
            values = {"collection": collection, "sha256": sha256}
            return await (await conn.execute(self._sql["known"], values)).fetchone() is not None


def _but_itself(member: model.Member, itself: bool) -> model.Member:
    """A changed archive may hold the one that it was: that is no document any more when it is the next version."""
    return replace(member, sha256="", job_id=None, problem=_OWN) if itself else member


def _columns(members: Sequence[model.Member]) -> dict[str, object]:
    return {
        "topic": INGEST_TOPIC,
        "lane": int(model.Lane.BULK),
        "ids": [m.job_id for m in members],
        "filenames": [m.filename for m in members],
        "media_types": [m.media_type for m in members],
        "sizes": [m.size for m in members],
        "hashes": [m.sha256 for m in members],
        "keys": [m.object_key for m in members],
    }


def _links(members: Sequence[model.Member], children: Mapping[str, UUID]) -> dict[str, object]:
    return {
        "ordinals": list(range(1, len(members) + 1)),
        "children": [children.get(m.sha256) for m in members],
        "paths": [m.path for m in members],
        "sizes": [m.size for m in members],
        "hashes": [m.sha256 for m in members],
        "problems": [Jsonb(m.problem.as_json()) if m.problem else None for m in members],
        "missed": [m.missed for m in members],
    }
