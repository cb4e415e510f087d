"""One document on its way through the ingest stage: what is known of it, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from datadistiller import errors, model
from datadistiller.messages import Delivery, Done, Failed, Ingested, Outcome, Spent
from datadistiller.parsing import protocol
from datadistiller.parsing.packed.listing import Listing
from datadistiller.stages.attachments import Intake
from datadistiller.stages.ports import Chunker


class Reading:
    """A document that is being read. ``outcome`` is there as soon as its fate is known."""

    def __init__(self, delivery: Delivery, job: model.Job, intake: Intake, alone: bool) -> None:
        self.delivery = delivery
        self.job = job
        self.intake = intake
        self.document: model.ParsedDocument | None = None
        self.outcome: Outcome | None = None
        self._alone = alone
        self._parse_seconds = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """What is raised inside ends this document, not those that are read with it."""
        try:
            yield
        except errors.DataDistillerError as error:
            self.outcome = Failed(self.delivery, error)
        except Exception as error:
            if self._alone:
                raise
            wrapped = errors.TransientError(f"An unexpected {type(error).__name__} while a document was read.")
            wrapped.__cause__ = error
            self.outcome = Failed(self.delivery, wrapped)

    def parsed(self, document: model.ParsedDocument, seconds: float) -> None:
        """It was read, in so many seconds."""
        self.document, self._parse_seconds = document, seconds

    def cut(self, chunker: Chunker) -> None:
        """Cuts it into chunks, which decides its fate. CPU-bound, for threads."""
        assert self.document is not None
        begun, document = time.monotonic(), self.document
        chunks = chunker.chunk(self.job.chunks_id, document, self.job.filename)
        if not chunks and self.intake.found:
            document = _with_list(document, self.intake.found)
            chunks = chunker.chunk(self.job.chunks_id, document, self.job.filename)
        spent = Spent(self.job.file_size, self._parse_seconds, time.monotonic() - begun)
        if chunks:
            self.outcome = Done(self.delivery, Ingested(document, chunks, self.intake.found, spent))
        else:
            self.outcome = Failed(self.delivery, _why_empty(document), Ingested(document, chunks, spent=spent))

    async def close(self) -> None:
        """Forgets what was taken out of a document that was not read after all."""
        if not isinstance(self.outcome, Done):
            await self.intake.discard()


def _with_list(document: model.ParsedDocument, members: Sequence[model.Member]) -> model.ParsedDocument:
    """A document that says nothing itself, but holds others, is found by what it holds."""
    listing = Listing((member.path, member.size) for member in members)
    return replace(document, pages=(*document.pages, listing.page(len(document.pages) + 1, "files in it")))


def _why_empty(document: model.ParsedDocument) -> errors.DataDistillerError:
    """Pages that failed explain it better than that there is no text, and so does what the parser said of pictures."""
    problems = [page.problem for page in document.pages if page.problem]
    problems += [warning for warning in document.warnings if warning.code == errors.NoText.code]
    return protocol.to_error(problems[0].as_json()) if problems else errors.NoText()
