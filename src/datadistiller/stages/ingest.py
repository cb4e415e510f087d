"""Reads documents and cuts them into chunks. Deliveries in, their pages and chunks out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from datadistiller import errors, model
from datadistiller.messages import Delivery, Failed, Outcome
from datadistiller.stages import unlocking
from datadistiller.stages.attachments import Intake
from datadistiller.stages.ports import Chunker, DocumentParser, Jobs, Objects
from datadistiller.stages.reading import Reading

#: Progress is written at most this often, seconds.
PROGRESS_SECONDS = 0.25

#: Progress when the first page is awaited, which beginning the message has written; when all are read; when chunks are
#: cut (contract: 0-100 over the job).
_FIRST, _READ, _CHUNKING = 1, 24, 25


class Ingest:
    """The ingest stage. Everything it does can be done again: status and progress are written, and objects that no
    document refers to before the settlement.

    Documents of one batch are read one after the other, then cut together. ``open_intake`` gives what takes in the
    files that lie in a document.
    """

    def __init__(
        self,
        objects: Objects,
        jobs: Jobs,
        parser: DocumentParser,
        chunker: Chunker,
        open_intake: Callable[[model.Job], Awaitable[Intake]],
    ) -> None:
        self._objects = objects
        self._jobs = jobs
        self._parser = parser
        self._chunker = chunker
        self._open_intake = open_intake

    async def __call__(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """One outcome per delivery; what is wrong with a document is its ``Failed``. Raises what concerns all."""
        jobs = await self._jobs.to_read([delivery.job_id for delivery in batch])
        gone = errors.LeaseLost("There is no such document any more.")
        outcomes: list[Outcome] = [Failed(delivery, gone) for delivery in batch if delivery.job_id not in jobs]
        readings: list[Reading] = []
        try:
            for delivery in (delivery for delivery in batch if delivery.job_id in jobs):
                job = jobs[delivery.job_id]
                readings.append(Reading(delivery, job, await self._open_intake(job), len(batch) == 1))
            for reading in readings:
                with reading.step():
                    await self._read(reading)
            await self._cut([reading for reading in readings if reading.outcome is None])
        finally:
            for reading in readings:
                await reading.close()
        return outcomes + [reading.outcome for reading in readings if reading.outcome is not None]

    async def _read(self, reading: Reading) -> None:
        written = begun = time.monotonic()

        async def on_page(read: int, count: int | None) -> None:
            nonlocal written
            if time.monotonic() - written >= PROGRESS_SECONDS:
                share = read / count if count else 0.0
                progress = _FIRST + int((_READ - _FIRST) * min(1.0, share))
                if not await self._jobs.advance([(reading.delivery, count)], model.Status.PROCESSING, progress):
                    raise errors.LeaseLost
                written = time.monotonic()

        job, delivery, intake = reading.job, reading.delivery, reading.intake
        async with self._objects.local_path(job.object_key) as path:
            document = await unlocking.parse(self._parser, self._jobs, delivery, path, job.media_type, on_page, intake)
        await intake.finish()
        reading.parsed(document, time.monotonic() - begun)

    async def _cut(self, readings: Sequence[Reading]) -> None:
        if not readings:
            return
        pages = [(r.delivery, len(r.document.pages) if r.document else None) for r in readings]
        current = await self._jobs.advance(pages, model.Status.CHUNKING, _CHUNKING)
        for reading in readings:
            if reading.delivery.message_id not in current:
                reading.outcome = Failed(reading.delivery, errors.LeaseLost())
        await asyncio.to_thread(self._cut_all, [reading for reading in readings if reading.outcome is None])

    def _cut_all(self, readings: Sequence[Reading]) -> None:
        for reading in readings:
            with reading.step():
                reading.cut(self._chunker)
