"""Mailboxes (mbox): a message is a page, read as a message of its own would be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, email, formats, limits, sniff

_QUOTED = re.compile(rb"^>(>*From )", re.M)
_MAX_LINE = 1 << 20


def _messages(path: Path) -> Iterator[bytes | None]:
    """The messages without their postmarks, one in memory at a time; None for one that is too large."""
    lines: list[bytes] | None = None
    size = 0
    blank = True  # a postmark stands at the beginning or behind an empty line
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE):
            if blank and sniff.POSTMARK.match(line):
                if lines is not None:
                    yield _joined(lines, size)
                lines, size = [], 0
            elif lines is not None:
                size += len(line)
                if size <= limits.MAX_MESSAGE_BYTES:
                    lines.append(line)
                else:
                    lines.clear()
            blank = not line.strip()
    if lines is not None:
        yield _joined(lines, size)


def _joined(lines: list[bytes], size: int) -> bytes | None:
    return _QUOTED.sub(rb"\1", b"".join(lines)) if size <= limits.MAX_MESSAGE_BYTES else None


def _page(data: bytes | None, number: int) -> Page:
    if data is None:
        error: errors.UnreadableDocument = errors.LimitExceeded(
            f"Message {number} is larger than {limits.MAX_MESSAGE_BYTES >> 20} MiB.",
            hint="Save it alone and take out its attachments.",
        )
        return Page(number, "", problem=error.problem())
    if data[:1] in b"\r\n":  # a message without headers is all body
        data = b"Content-Type: text/plain\n" + data
    try:
        subject, page = email.convert(data)
    except errors.UnreadableDocument as unreadable:
        return Page(number, "", problem=unreadable.problem())
    return page.build(number, subject[:200])


class MboxParser:
    """Reads mailboxes as Unix mail programs and exports of mail services keep them."""

    name = "mbox"
    media_types = (formats.MBOX,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Header | Page]:
        """A page per message, labelled with its subject. Raises ``errors.DamagedDocument`` if there is none."""
        count = sum(1 for _ in _messages(path))
        if not count:
            raise errors.DamagedDocument("The file is no mailbox: it has no line that begins a message.")
        yield Header(self.name, formats.MBOX, "", count)
        for number, data in enumerate(_messages(path), 1):
            if number >= first_page:
                yield _page(data, number)
