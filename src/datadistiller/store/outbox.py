"""What the relay publishes: due messages through a window per topic, dead letters, and what became of documents.

A row of the window is published and not begun. A message leaves it when it is begun or its work is dropped, and also
when it is freed, retried or parked: then it waits to be published again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datadistiller import model
from datadistiller.messages import Announcement, Obituary, Reference
from datadistiller.store.database import Database
from datadistiller.store.locks import Lock, advisory_lock
from datadistiller.store.statements import Statements

LOCK_KEY = 0x64645F72656C6179  # "dd_relay": one relay at a time publishes, so that events stay in order


@dataclass(frozen=True, slots=True)
class Window:
    """How the window of a topic stands."""

    messages: int
    oldest_seconds: float


class Outbox:
    """Rows that a broker is to hear of."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("outbox")

    @contextlib.asynccontextmanager
    async def lead(self) -> AsyncIterator[Lock]:
        """Holds the relay's lock, if it is free, as long as the context lasts."""
        async with advisory_lock(self._db, LOCK_KEY) as lock:
            yield lock

    async def mark(self, topic: str, window: int) -> list[Reference]:
        """Takes due messages into the topic's window until that holds ``window``; returns them, the most urgent first.

        They are to be published now. Another relay that does the same at this moment takes others.
        """
        return await self._marked("mark", topic=topic, window=window)

    async def mark_again(self, topic: str, seconds: float) -> list[Reference]:
        """Returns what has been in the window for ``seconds``, to be published once more."""
        return await self._marked("mark_again", topic=topic, seconds=float(seconds))

    async def window(self, topic: str) -> Window:
        """How the window of a topic stands."""
        async with self._db.connection() as conn:
            row = await (await conn.execute(self._sql["window"], {"topic": topic})).fetchone()
        assert row is not None
        return Window(int(row["messages"]), float(row["oldest_seconds"]))

    async def letters(self, limit: int) -> list[Obituary]:
        """Dead letters that were not published yet, oldest first."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["letters"], {"limit": limit})).fetchall()
        return [
            Obituary(
                dead_id=r["dead_id"], topic=r["topic"],
                reference=Reference(r["message_id"], r["job_id"], r["chunk_id"]), attempt=r["job_attempt"],
                tries=r["tries"], crashes=r["crashes"], error=model.Problem(**r["error"]),
                error_type=r["error_type"], died_at=r["died_at"],
            )
            for r in rows
        ]  # fmt: skip

    async def letters_published(self, letters: Sequence[Obituary]) -> None:
        """They are on the broker; until this is committed they count as not published."""
        async with self._db.connection() as conn:
            await conn.execute(self._sql["letters_published"], {"ids": [letter.dead_id for letter in letters]})

    async def events(self, limit: int) -> list[Announcement]:
        """What is to be told of documents and was not yet, those of one document in order."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["events"], {"limit": limit})).fetchall()
        return [_announcement(row) for row in sorted(rows, key=lambda r: (r["job_id"], r["n"]))]

    async def events_published(self, events: Sequence[Announcement]) -> None:
        """They are on the broker; until this is committed they count as not published."""
        values = {"jobs": [event.job_id for event in events], "numbers": [event.n for event in events]}
        async with self._db.connection() as conn:
            await conn.execute(self._sql["events_published"], values)

    async def _marked(self, statement: str, **values: object) -> list[Reference]:
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql[statement], values)).fetchall()
        rows.sort(key=lambda r: (r["lane"], r["available_at"], r["id"]))
        return [Reference(row["id"], row["job_id"], row["chunk_id"]) for row in rows]


def _announcement(row: Mapping[str, Any]) -> Announcement:
    started = row["status"] == model.Status.PENDING
    return Announcement(
        job_id=row["job_id"], n=row["n"], attempt=row["attempt"], event="accepted" if started else row["status"],
        at=row["at"], collection=row["collection"], total_chunks=row["total_chunks"],
        failed_chunks=row["failed_chunks"], error_code=row["code"],
    )  # fmt: skip
