"""Takes in what lies in a document, as the ingest stage does, but keeps it in memory."""

from __future__ import annotations

from datadistiller import model


class Collected:
    """``runtime.sandbox_ports.Attachments``: what came, and what did not."""

    def __init__(self, members: int = 1000, size: int = 1 << 30) -> None:
        self.most_members, self.most_bytes = members, size
        self.files: list[tuple[str, str, bytes]] = []  # path, media type, bytes
        self.refused: dict[str, str] = {}  # path -> code
        self.pieces = 0
        self.rewinds = 0
        self._kept = 0

    @property
    def names(self) -> list[str]:
        """The paths of what came."""
        return [path for path, _, _ in self.files]

    async def begin(self, path: str, media_type: str) -> None:
        self._now = (path, media_type)
        self._bytes = bytearray()

    async def write(self, piece: bytes) -> None:
        self.pieces += 1
        self._bytes += piece

    async def end(self, problem: model.Problem | None) -> None:
        if problem is None:
            self.files.append((*self._now, bytes(self._bytes)))
        else:
            self.refuse(self._now[0], len(self._bytes), problem)

    def refuse(self, path: str, size: int, problem: model.Problem) -> None:
        self.refused[path] = problem.code

    def keep(self) -> None:
        self._kept = len(self.files)

    async def rewind(self) -> None:
        self.rewinds += 1
        del self.files[self._kept :]
