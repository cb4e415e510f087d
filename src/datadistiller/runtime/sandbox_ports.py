"""What the sandbox calls while it reads a document: whoever asked for it gives these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from datadistiller import model

#: Called after each page with the pages read so far and how many there are (None: not known).
OnPage = Callable[[int, int | None], Awaitable[None]]


class Attachments(Protocol):
    """Takes in the files that come out of one document, one after the other.

    Told between ``begin`` and ``end`` is one of them: its bytes. What it raises ends the reading.
    """

    #: How many may come at most, and how many bytes in all.
    most_members: int
    most_bytes: int

    async def begin(self, path: str, media_type: str) -> None:
        """The next one, of a type that can be read. ``path`` is safe to show."""
        ...

    async def write(self, piece: bytes) -> None:
        """More of it."""
        ...

    async def end(self, problem: model.Problem | None) -> None:
        """All of it has come; with a problem it is worth nothing."""
        ...

    def refuse(self, path: str, size: int, problem: model.Problem) -> None:
        """One that is not taken out of the document. ``size`` is what the document says of it, bytes."""
        ...

    def keep(self) -> None:
        """All that came so far stays."""
        ...

    async def rewind(self) -> None:
        """What came since the last ``keep`` is forgotten; it may come again."""
        ...
