"""What the store's tests build on: a pipeline without stages, moved by hand one step at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import numpy as np

from datadistiller import errors, messages, model
from datadistiller.messages import CHUNK_TOPIC, INGEST_TOPIC, REMOVE_TOPIC, Delivery, Done, Embedded, Failed, Ingested
from datadistiller.store.changes import Changes
from datadistiller.store.chunks import Chunks
from datadistiller.store.database import Database
from datadistiller.store.dead_letters import DeadLetters
from datadistiller.store.inspection import Inspection
from datadistiller.store.jobs import Accepted, Jobs, NewJob
from datadistiller.store.messages import Limits, Messages, Settled
from datadistiller.store.models import Models
from datadistiller.store.pages import Pages
from datadistiller.store.workers import Workers

DIM = 4
LIMITS = Limits(tries=3, solo_crashes=2, park_seconds=3600)
ALL_LIMITS = {INGEST_TOPIC: LIMITS, CHUNK_TOPIC: LIMITS, REMOVE_TOPIC: LIMITS}


def new_job(content: str = "", **changes: Any) -> NewJob:
    """An upload of that content; of content of its own if none is given."""
    job_id = uuid4()
    values: dict[str, Any] = {
        "job_id": job_id, "filename": "report.txt", "collection": "default", "media_type": "text/plain",
        "file_size": 10, "sha256": hashlib.sha256((content or str(job_id)).encode()).hexdigest(),
        "object_key": f"uploads/{job_id}/report.txt", "lane": model.Lane.INTERACTIVE, "metadata": {},
        "idempotency_key": None, "request_hash": "",
    }  # fmt: skip
    return NewJob(**{**values, **changes})


def reading(job_id: UUID, texts: Sequence[str], context: str = "Title", broken_pages: int = 0) -> Ingested:
    """A document with one page, and one chunk on it, per text; then pages that failed."""
    pages = [model.Page(number=n, text=text, label=f"p{n}") for n, text in enumerate(texts, 1)]
    problem = model.Problem("damaged", "The page is damaged.", "Save it again.")
    pages += [model.Page(number=len(texts) + n, text="", problem=problem) for n in range(1, broken_pages + 1)]
    chunks = [
        model.Chunk(
            chunk_id=model.make_chunk_id(job_id, n, text), ordinal=n, page=n + 1, start=0, end=len(text), text=text,
            context=context, tokens=5,
        )
        for n, text in enumerate(texts)
    ]  # fmt: skip
    document = model.ParsedDocument(pages=pages, title=context, parser="test", media_type="text/plain")
    return Ingested(document=document, chunks=chunks)


def embedded(seed: int = 0) -> Embedded:
    """A unit vector."""
    vector = np.zeros(DIM, np.float16)
    vector[seed % DIM] = 1
    return Embedded(vector)


def failed(deliveries: Sequence[Delivery], error: errors.DataDistillerError) -> list[messages.Outcome]:
    """The same failure for each."""
    return [Failed(delivery, error) for delivery in deliveries]


@dataclass
class Kit:
    """All parts of the store on one database, and one registered worker."""

    db: Database
    boot: UUID = field(default_factory=uuid4)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.db)
        self.messages = Messages(self.db)
        self.changes = Changes(self.db)
        self.chunks = Chunks(self.db)
        self.pages = Pages(self.db)
        self.letters = DeadLetters(self.db, self.jobs)
        self.inspection = Inspection(self.db)
        self.workers = Workers(self.db)
        self.model_id = 0

    async def begin(self) -> Kit:
        """Registers worker and model."""
        await self.workers.register(self.boot, "test", "all", 1)
        self.model_id = await Models(self.db).activate("test-model", DIM)
        return self

    async def accept(self, content: str = "", **changes: Any) -> Accepted:
        return await self.jobs.accept(new_job(content, **changes))

    async def claim(self, topic: str, limit: int = 32, boot: UUID | None = None, seconds: float = 60) -> list[Delivery]:
        return await self.messages.claim(topic, limit, boot or self.boot, seconds)

    async def settle(self, *outcomes: messages.Outcome, limits: Limits = LIMITS) -> Settled:
        return await self.messages.settle(limits, outcomes, self.model_id)

    async def ingest(self, job_id: UUID, texts: Sequence[str], **kwargs: Any) -> Settled:
        """Claims the one ingest message that is due and settles it with a reading."""
        (delivery,) = await self.claim(INGEST_TOPIC, 1)
        assert delivery.job_id == job_id
        return await self.settle(Done(delivery, reading(job_id, texts, **kwargs)))

    async def embed(self, limit: int = 32) -> list[Delivery]:
        """Embeds up to so many chunks; returns their messages."""
        deliveries = await self.claim(CHUNK_TOPIC, limit)
        settled = await self.settle(*[Done(d, embedded(n)) for n, d in enumerate(deliveries)])
        assert not settled.refused
        return deliveries

    async def follow(self, position: str) -> str:
        """One round of the index follower: everything is acknowledged."""
        numbers, position = await self.changes.since(position)
        entries, _ = await self.changes.read(numbers, self.model_id)
        await self.changes.acknowledge([entry.chunk_no for entry in entries])
        return position

    async def searchable(self, texts: Sequence[str], **changes: Any) -> model.Job:
        """A document taken all the way."""
        position = await self.position()
        accepted = await self.accept(**changes)
        await self.ingest(accepted.job.job_id, texts)
        while await self.embed():
            pass
        await self.follow(position)
        return await self.jobs.get(accepted.job.job_id)

    async def position(self) -> str:
        """The feed's position of now."""
        return str((await self.rows("SELECT pg_current_snapshot()::text AS position"))[0]["position"])

    async def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Any rows, for looking behind the store's back."""
        async with self.db.connection() as conn:
            return list(await (await conn.execute(statement.encode(), values)).fetchall())

    async def run(self, statement: str, *values: object) -> None:
        """Any statement, for doing what only the world outside does."""
        async with self.db.connection() as conn:
            await conn.execute(statement.encode(), values)

    async def numbers(self, job_id: UUID) -> list[int]:
        """The chunk numbers of a job, in order."""
        rows = await self.rows("SELECT chunk_no FROM document_chunks WHERE job_id = %s ORDER BY ordinal", job_id)
        return [row["chunk_no"] for row in rows]
