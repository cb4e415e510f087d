"""The parsing port: bytes of one media type in, pages out. Parsers run only inside the sandboxed child."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from datadistiller.model import Page, Problem


@dataclass(frozen=True, slots=True)
class Header:
    """What is known before the first page. ``page_count`` is None if it is not known in advance.

    ``encoding`` is what the bytes of a text were taken for, empty where the format itself says how they are read.
    """

    parser: str
    media_type: str
    title: str
    page_count: int | None
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in the document: attached, embedded, or a member of an archive.

    ``path`` is what it is called there, with ``/`` between folders; nobody has made it safe. ``pieces`` gives its bytes
    lazily, in pieces of bounded size, and may raise what says that it is damaged; who takes the next item has done
    with them. ``size`` is what the document says of it, bytes, None if it says nothing. ``problem`` is set, and there
    are no bytes, if it cannot be read.
    """

    path: str
    pieces: Iterable[bytes] = ()
    size: int | None = None
    problem: Problem | None = None


#: What a parser gives, one after the other.
Item = Header | Page | Problem | Attachment


class Parser(Protocol):
    """Reads files of some media types. Pure function of the file; no network, no writing.

    ``parse`` yields one ``Header`` first, then ``Page``s in order, numbered from ``first_page``. A page that
    fails is a ``Page`` with ``problem`` set, never an exception; an exception (an ``errors.UnreadableDocument``,
    or anything else, which counts as damage) ends the document. A parser without pages ignores ``first_page``.
    A ``Problem`` between them is a warning: something was guessed or left out. It holds none of the document's text.
    An ``Attachment`` stands before the page that it belongs to: if the process dies there, both are read again.
    A parser that takes the place of one that failed may be asked for one page in the middle; it gives no attachments.
    """

    name: str
    media_types: Sequence[str]

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """Reads the file lazily: memory is bounded by a page, not by the document, where the format allows it."""
        ...


@runtime_checkable
class Unlocking(Protocol):
    """A parser whose encrypted files a password opens."""

    def unlocked_by(self, password: str) -> Parser:
        """The same parser for one such file. A password that does not fit is an ``errors.EncryptedDocument``."""
        ...
