"""What the tests of the follower do with a database and an index, without workers: documents move by hand."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import numpy as np

from datadistiller import errors, messages, model
from datadistiller.indexing import Index
from datadistiller.runtime.follower import Follower
from datadistiller.store.changes import Changes
from datadistiller.store.database import Database
from datadistiller.store.jobs import Jobs, NewJob
from datadistiller.store.messages import Limits, Messages
from datadistiller.store.models import Models
from datadistiller.store.signals import CHANGES, Notifier, Signals

DIM = 16
BOOT = UUID(int=1)


class World:
    """A database, an index, and what workers and followers do with them."""

    fingerprint, dim = "test", DIM

    def __init__(self, db: Database, make_index: Callable[[], Index], changes: type[Changes] = Changes) -> None:
        self.db, self.make_index = db, make_index
        self.jobs, self.messages, self.notifier = Jobs(db), Messages(db), Notifier(db)
        self.changes = changes(db)
        self.index = make_index()

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Follower]:
        """A follower at work."""
        await self.activate()
        signals, stop = Signals(self.db.url), asyncio.Event()
        async with AsyncExitStack() as stack:
            await signals.start()
            stack.push_async_callback(signals.close)
            follower = Follower(self.changes, self.index, signals, self.notifier, self.model_id, commit_ms=20)
            task = asyncio.create_task(follower.run(stop))
            try:
                yield follower
            finally:
                stop.set()
                await task

    async def activate(self) -> None:
        """Makes the model known."""
        self.model_id = await Models(self.db).activate(self.fingerprint, self.dim)

    async def reopen(self) -> None:
        """What a restart of the process does to the index."""
        await self.index.close()
        self.index = self.make_index()

    async def upload(self, *texts: str) -> UUID:
        """A document whose chunks are these texts, read but not embedded."""
        job_id = uuid.uuid4()
        await self.jobs.accept(
            NewJob(
                job_id=job_id, filename="a.txt", collection="c", media_type="text/plain", file_size=1,
                sha256=job_id.hex, object_key=f"uploads/{job_id}/a.txt", lane=model.Lane.INTERACTIVE, metadata={},
            )
        )  # fmt: skip
        await self.read(job_id, *texts)
        return job_id

    async def read(self, job_id: UUID, *texts: str) -> None:
        """What an ingestion worker does with a new attempt."""
        page, chunks = "", []
        for ordinal, text in enumerate(texts):
            chunk_id = model.make_chunk_id(job_id, ordinal, text)
            chunks.append(model.Chunk(chunk_id, ordinal, 1, len(page), len(page) + len(text), text, "title", 3))
            page += text
        document = model.ParsedDocument([model.Page(1, page)], "title", "text", "text/plain")
        [delivery] = await self.messages.claim(messages.INGEST_TOPIC, 1, BOOT, 60)
        assert delivery.job_id == job_id
        await self.settle(messages.Done(delivery, messages.Ingested(document, chunks)))

    async def embed(self, limit: int = 1000) -> None:
        """What an embedding worker does with what waits, the given number of chunks at most."""
        claimed = await self.messages.claim(messages.CHUNK_TOPIC, limit, BOOT, 60)
        if claimed:
            done = (messages.Done(each, messages.Embedded(self.vector(each.chunk_id))) for each in claimed)
            await self.settle(*done)

    def vector(self, chunk_id: UUID | None) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
        """The vector of a chunk, as if of its text."""
        assert chunk_id is not None
        values = np.random.default_rng(chunk_id.int & 0xFFFFFFFF).standard_normal(self.dim)
        return (values / np.linalg.norm(values)).astype(np.float16)

    async def settle(self, *outcomes: messages.Outcome) -> None:
        await self.messages.settle(Limits(5, 5), outcomes, self.model_id)
        await self.notifier.notify(CHANGES)

    async def delete(self, job_id: UUID) -> None:
        await self.jobs.delete(job_id)
        await self.notifier.notify(CHANGES)

    async def status(self, job_id: UUID) -> str:
        return (await self.jobs.get(job_id)).status.value

    async def completed(self, *job_ids: UUID, seconds: float = 30) -> None:
        """Waits until they are."""
        for job_id in job_ids:
            await until(lambda job_id=job_id: self._is(job_id, "completed"), seconds)  # type: ignore[misc]

    async def _is(self, job_id: UUID, status: str) -> bool:
        return await self.status(job_id) == status

    async def live(self) -> dict[int, UUID]:
        return (await self.changes.live(self.model_id)).chunks

    async def caught_up(self) -> None:
        """Waits until index and database agree."""

        async def agree() -> bool:
            return await self.index.contents() == await self.live()

        await until(agree)

    async def found(self, question: str) -> int:
        return len((await self.index.keyword_search(question, 1000)).numbers)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Waits for a condition; a lost connection is not the end of it."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(errors.Unavailable):
                if await condition():
                    return
            await asyncio.sleep(0.01)


async def ready(follower: Follower) -> bool:
    """True if the index has held every live chunk."""
    return follower.state.ready


async def says(follower: Follower, reason: str) -> bool:
    """True if this is why the follower does not follow; '' if it does."""
    error = follower.state.error
    return error is None if not reason else reason in (error or "")


async def lags(follower: Follower, chunks: int) -> bool:
    """True if it is so far behind."""
    return follower.state.lag == chunks


async def finds(world: World, word: str, count: int) -> bool:
    """True if a word is found in so many chunks."""
    return await world.found(word) == count
