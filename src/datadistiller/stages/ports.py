"""What the ingest stage needs of the parts around it, and of whoever sets it up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from datadistiller import model
from datadistiller.messages import Delivery

if TYPE_CHECKING:
    from datadistiller.stages.attachments import Intake


class Objects(Protocol):
    """Where uploads are."""

    def local_path(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The object as a file; raises ``errors.ObjectMissing``."""
        ...


class Jobs(Protocol):
    """The records of documents."""

    async def to_read(self, job_ids: Sequence[UUID]) -> Mapping[UUID, model.Job]:
        """Those of these jobs that are there and not deleted, each with the file that this attempt reads."""
        ...

    async def password(self, delivery: Delivery) -> str | None:
        """The password that was given for this attempt, if one was."""
        ...

    async def advance(
        self, read: Sequence[tuple[Delivery, int | None]], status: model.Status, progress: int
    ) -> frozenset[int]:
        """Moves on the jobs of these deliveries, each with its number of pages if it is known.

        Gives the message ids of those whose lease and attempt are current.
        """
        ...


class DocumentParser(Protocol):
    """Reads a file without harm to this process: ``runtime.sandbox.Sandbox``."""

    async def parse(
        self,
        path: Path,
        media_type: str,
        on_page: Callable[[int, int | None], Awaitable[None]] | None = None,
        attachments: Intake | None = None,
        *,
        password: str | None = None,
    ) -> model.ParsedDocument:
        """Calls ``on_page`` with pages read and pages in all. Raises a subclass of ``errors.PermanentError``."""
        ...


class Chunker(Protocol):
    """Cuts pages into chunks. Pure, CPU-bound."""

    def chunk(self, job_id: UUID, document: model.ParsedDocument, filename: str) -> list[model.Chunk]:
        """The chunks in reading order, none if there is no text."""
        ...
