"""Mailboxes (mbox): a message is a page, read as a message of its own would be."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, decoding, formats, limits, sniff
from datadistiller.parsing.mail import email

_QUOTED = re.compile(rb"^>(>*From )", re.M)
_HEADER = re.compile(rb"[\x21-\x39\x3b-\x7e]+:")
_MAX_LINE = 1 << 20


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a mailbox, in UTF-8 where the file is UTF-16 or UTF-32."""
    with path.open("rb") as file:
        head = file.read(sniff.HEAD_BYTES)
        encoding = decoding.wide(head)
        marked = head.startswith(codecs.BOM_UTF8)
        file.seek(len(codecs.BOM_UTF8) if marked else 0)
        if encoding and not marked:  # a message has its own encoding: only what is wide as a whole is decoded here
            with io.TextIOWrapper(file, encoding, "replace", newline="\n") as text:
                while words := text.readline(_MAX_LINE):
                    yield words.encode("utf-8", "replace")
        else:
            while line := file.readline(_MAX_LINE):
                yield line


def _messages(path: Path) -> Iterator[bytes | None]:
    """The messages without their postmarks, one in memory at a time; None for one that is too large.

    What stands before the first postmark is a message as well; without any postmark there is none.
    """
    lines: list[bytes] = []
    size = 0
    begun = False
    blank = True  # a postmark stands at the beginning or behind an empty line
    for line in _lines(path):
        if (blank or not begun) and sniff.POSTMARK.match(line):
            if begun:
                yield _joined(lines, size)
            elif size:
                yield _joined(lines if lines and _HEADER.match(lines[0]) else [b"\n", *lines], size)
            lines, size, begun = [], 0, True
        elif begun or size or line.strip():
            size += len(line)
            if size <= limits.MAX_MESSAGE_BYTES:
                lines.append(line)
            else:
                lines.clear()
        blank = not line.strip()
    if begun:
        yield _joined(lines, size)


def _joined(lines: list[bytes], size: int) -> bytes | None:
    return _QUOTED.sub(rb"\1", b"".join(lines)) if size <= limits.MAX_MESSAGE_BYTES else None


def _items(data: bytes | None, number: int) -> Iterator[Item]:
    """What is attached to a message, then its page, with what is to be said about it."""
    if data is None:
        error: errors.UnreadableDocument = errors.LimitExceeded(
            f"Message {number} is larger than {limits.MAX_MESSAGE_BYTES >> 20} MiB.",
            hint="Save it alone and take out its attachments.",
        )
        yield Page(number, "", problem=error.problem())
        return
    if data[:1] in b"\r\n":  # a message without headers is all body
        data = b"Content-Type: text/plain\n" + data
    try:
        message = email.convert(data)
    except errors.UnreadableDocument as unreadable:
        yield Page(number, "", problem=unreadable.problem())
        return
    except MemoryError:
        raise
    except Exception as failure:  # one message of many, whatever the library makes of it
        damaged = errors.DamagedDocument(f"Message {number} cannot be read ({type(failure).__name__}).")
        yield Page(number, "", problem=damaged.problem())
        return
    folder = f"{number} {message.subject.replace('/', '_')[:100]}".rstrip()
    for attached in message.attachments:
        yield replace(attached, path=f"{folder}/{attached.path}")
    yield from message.warnings
    yield message.page.build(number, message.subject[:200])


class MboxParser:
    """Reads mailboxes as Unix mail programs and exports of mail services keep them."""

    name = "mbox"
    media_types = (formats.MBOX,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per message, labelled with its subject; before it what is attached to it.

        Raises ``errors.DamagedDocument`` if there is none.
        """
        count = sum(1 for _ in _messages(path))
        if not count:
            raise errors.DamagedDocument("The file is no mailbox: it has no line that begins a message.")
        yield Header(self.name, formats.MBOX, "", count)
        for number, data in enumerate(_messages(path), 1):
            if number >= first_page:
                yield from _items(data, number)
