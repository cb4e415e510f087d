"""The list of the files in a document: what is searched of an archive itself."""

from __future__ import annotations

from collections.abc import Iterable

from datadistiller.model import BlockKind, Page
from datadistiller.parsing.pages import PageBuilder

#: Files of one block of the list.
_BLOCK = 20


class Listing:
    """Collects the files, and makes a page of them: path and size, one a line."""

    def __init__(self, files: Iterable[tuple[str, int | None]] = ()) -> None:
        self._lines: list[str] = []
        for path, size in files:
            self.add(path, size)

    def add(self, path: str, size: int | None) -> None:
        """One more; the size in bytes, None if it is not known."""
        self._lines.append(path if size is None else f"{path} ({size:,} bytes)")

    def page(self, number: int, label: str = "") -> Page:
        """The page with what was added."""
        builder = PageBuilder()
        for at in range(0, len(self._lines), _BLOCK):
            builder.add(BlockKind.LIST, "\n".join(self._lines[at : at + _BLOCK]))
        return builder.build(number, label)
