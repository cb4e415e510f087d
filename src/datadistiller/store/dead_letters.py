"""Dead letters: work that could not be done, why, and doing it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from datadistiller import errors, model
from datadistiller.messages import REMOVE_TOPIC
from datadistiller.store.database import Database
from datadistiller.store.jobs import Jobs, job_of
from datadistiller.store.statements import Statements


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that reached the end of its tries, kept for a person."""

    dead_id: int
    topic: str
    job_id: UUID
    filename: str
    attempt: int
    chunk_id: UUID | None
    tries: int
    crashes: int
    error: model.Problem
    error_type: str
    frames: Sequence[str]
    history: Sequence[Mapping[str, Any]]
    died_at: datetime


class DeadLetters:
    """Lists, shows, replays and discards dead letters."""

    def __init__(self, db: Database, jobs: Jobs) -> None:
        self._db = db
        self._jobs = jobs
        self._sql = Statements("dead_letters")

    async def list(self, limit: int = 50, after: int | None = None) -> list[DeadLetter]:
        """Newest first, older than the letter ``after``."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["page"], {"limit": limit, "after": after})).fetchall()
        return [_letter(row) for row in rows]

    async def get(self, dead_id: int) -> DeadLetter:
        """One letter; ``errors.DeadLetterNotFound`` if there is none."""
        async with self._db.connection() as conn:
            row = await (await conn.execute(self._sql["get"], {"id": dead_id})).fetchone()
        if row is None:
            raise _missing(dead_id)
        return _letter(row)

    async def replay(self, dead_id: int) -> model.Job:
        """Starts a new attempt of the letter's job; all its letters are gone. ``errors.Conflict`` while it runs.

        The letter of a removal is put back into its queue; its job, deleted, is returned as it is.
        """
        letter = await self.get(dead_id)
        if letter.topic != REMOVE_TOPIC:
            return await self._jobs.retry(letter.job_id)
        async with self._db.transaction() as conn:
            job = await (await conn.execute(self._sql["lock_job"], {"job_id": letter.job_id})).fetchone()
            if job is None or await (await conn.execute(self._sql["requeue"], {"id": dead_id})).fetchone() is None:
                raise _missing(dead_id)
            return job_of(job)

    async def discard(self, dead_id: int) -> None:
        """Forgets a letter; the job keeps its status. ``errors.Conflict`` for a removal: what was promised is due."""
        letter = await self.get(dead_id)
        if letter.topic == REMOVE_TOPIC:
            raise errors.Conflict(
                f"Dead letter {dead_id} is the removal of a deleted document; it cannot be discarded.",
                hint="Mend what the letter names and replay it.",
            )
        async with self._db.connection() as conn:
            if await (await conn.execute(self._sql["discard"], {"id": dead_id})).fetchone() is None:
                raise _missing(dead_id)


def _missing(dead_id: int) -> errors.DeadLetterNotFound:
    return errors.DeadLetterNotFound(f"There is no dead letter {dead_id}.")


def _letter(row: Mapping[str, Any]) -> DeadLetter:
    return DeadLetter(
        dead_id=row["dead_id"], topic=row["topic"], job_id=row["job_id"], filename=row["filename"],
        attempt=row["job_attempt"], chunk_id=row["chunk_id"], tries=row["tries"], crashes=row["crashes"],
        error=model.Problem(**row["error"]), error_type=row["error_type"], frames=row["frames"],
        history=row["history"], died_at=row["died_at"],
    )  # fmt: skip
