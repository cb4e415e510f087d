"""Reads a document and cuts it into chunks. One delivery in, its pages and chunks out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from datadistiller import errors, model
from datadistiller.messages import Delivery, Done, Failed, Ingested, Outcome, Spent
from datadistiller.parsing import protocol
from datadistiller.parsing.listing import Listing
from datadistiller.stages import unlocking
from datadistiller.stages.attachments import Intake
from datadistiller.stages.ports import Chunker, DocumentParser, Jobs, Objects

#: Progress is written at most this often, seconds.
PROGRESS_SECONDS = 0.25

#: Progress when the first page is awaited, when all are read, when chunks are cut (contract: 0-100 over the job).
_FIRST, _READ, _CHUNKING = 1, 24, 25


class Ingest:
    """The ingest stage. Everything it does can be done again: status and progress are written, and objects that no
    document refers to before the settlement.

    ``open_intake`` gives what takes in the files that lie in a document.
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
        """One outcome per delivery; what is wrong with a document is its ``Failed``."""
        return [await self._ingest(delivery) for delivery in batch]

    async def _ingest(self, delivery: Delivery) -> Outcome:
        try:
            job = await self._jobs.to_read(delivery.job_id)
            intake = await self._open_intake(job)
        except errors.JobNotFound as error:
            return Failed(delivery, errors.LeaseLost(error.message))
        except errors.DataDistillerError as error:
            return Failed(delivery, error)
        outcome: Outcome | None = None
        try:
            outcome = await self._result(delivery, job, intake)
        except errors.DataDistillerError as error:
            outcome = Failed(delivery, error)
        finally:
            if not isinstance(outcome, Done):
                await intake.discard()
        return outcome

    async def _result(self, delivery: Delivery, job: model.Job, intake: Intake) -> Outcome:
        begun = time.monotonic()
        document = await self._read(delivery, job, intake)
        read = time.monotonic()
        await self._advance(delivery, model.Status.CHUNKING, _CHUNKING, len(document.pages))
        chunks = await asyncio.to_thread(self._chunker.chunk, job.chunks_id, document, job.filename)
        if not chunks and intake.found:
            document = _with_list(document, intake.found)
            chunks = await asyncio.to_thread(self._chunker.chunk, job.chunks_id, document, job.filename)
        spent = Spent(job.file_size, read - begun, time.monotonic() - read)
        if not chunks:
            return Failed(delivery, _why_empty(document), Ingested(document, chunks, spent=spent))
        return Done(delivery, Ingested(document, chunks, intake.found, spent))

    async def _read(self, delivery: Delivery, job: model.Job, intake: Intake) -> model.ParsedDocument:
        await self._advance(delivery, model.Status.PROCESSING, _FIRST)
        written = time.monotonic()

        async def on_page(read: int, count: int | None) -> None:
            nonlocal written
            if time.monotonic() - written >= PROGRESS_SECONDS:
                share = read / count if count else 0.0
                progress = _FIRST + int((_READ - _FIRST) * min(1.0, share))
                await self._advance(delivery, model.Status.PROCESSING, progress, count)
                written = time.monotonic()

        async with self._objects.local_path(job.object_key) as path:
            document = await unlocking.parse(self._parser, self._jobs, delivery, path, job.media_type, on_page, intake)
        await intake.finish()
        return document

    async def _advance(
        self, delivery: Delivery, status: model.Status, progress: int, page_count: int | None = None
    ) -> None:
        if not await self._jobs.advance(delivery, status, progress, page_count):
            raise errors.LeaseLost


def _with_list(document: model.ParsedDocument, members: Sequence[model.Member]) -> model.ParsedDocument:
    """A document that says nothing itself, but holds others, is found by what it holds."""
    listing = Listing((member.path, member.size) for member in members)
    return replace(document, pages=(*document.pages, listing.page(len(document.pages) + 1, "files in it")))


def _why_empty(document: model.ParsedDocument) -> errors.DataDistillerError:
    """Pages that failed explain it better than that there is no text, and so does what the parser said of pictures."""
    problems = [page.problem for page in document.pages if page.problem]
    problems += [warning for warning in document.warnings if warning.code == errors.NoText.code]
    return protocol.to_error(problems[0].as_json()) if problems else errors.NoText()
