"""Reads small plain texts in this very process. All else is hostile work, and goes to the parser processes.

Why that is safe: ADR 22. What happens here to the bytes of a stranger happens to every page that comes back from a
parser process too: they are decoded as UTF-8, and cut at line ends. No library is involved, and nothing grows.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from datadistiller import errors, model
from datadistiller.parsing import Header, formats
from datadistiller.parsing.text import TextParser
from datadistiller.runtime.sandbox import Sandbox
from datadistiller.runtime.sandbox_ports import Attachments, OnPage

#: Larger files are not read here, bytes.
MOST_BYTES = 64 << 10


class PlainFirst:
    """Gives what ``sandbox`` gives, of texts in UTF-8 of up to ``most_bytes`` without asking it."""

    def __init__(self, sandbox: Sandbox, most_bytes: int = MOST_BYTES) -> None:
        self._sandbox = sandbox
        self._most_bytes = most_bytes

    async def parse(
        self,
        path: Path,
        media_type: str,
        on_page: OnPage | None = None,
        attachments: Attachments | None = None,
        *,
        password: str | None = None,
    ) -> model.ParsedDocument:
        """See ``Sandbox.parse``."""
        if media_type == formats.TEXT:
            document = await asyncio.to_thread(_read, path, self._most_bytes)
            if document is not None:
                if on_page is not None:
                    await on_page(1, 1)
                return document
        return await self._sandbox.parse(path, media_type, on_page, attachments, password=password)


def _read(path: Path, most_bytes: int) -> model.ParsedDocument | None:
    """None if it is too large, or is no UTF-8. Raises ``errors.ObjectMissing``."""
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
        data.decode("utf-8")
    except FileNotFoundError as error:
        raise errors.ObjectMissing from error
    except UnicodeDecodeError:
        return None
    if len(data) > most_bytes or b"\0" in data:  # zeros may mean UTF-16
        return None
    header, *items = TextParser().parse(path, formats.TEXT)
    assert isinstance(header, Header)
    pages = tuple(item for item in items if isinstance(item, model.Page))
    warnings = tuple(item for item in items if isinstance(item, model.Problem))
    return model.ParsedDocument(pages, header.title, header.parser, header.media_type, warnings, header.encoding)
