"""The parsing port: bytes of one media type in, pages out. Parsers run only inside the sandboxed child."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

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


#: What a parser has learned of the pages it has read, for those that follow: plain JSON.
Known = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Learned:
    """Stands before the page ``page``: what is known when that is read, if the document may be read in parts."""

    page: int
    known: Known


#: What a parser gives, one after the other.
Item = Header | Page | Problem | Attachment | Learned


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


class Part(Protocol):
    """Some pages in the middle of a document, read before those in front of them are."""

    def look(self) -> Iterator[int]:
        """Looks at one page after the other and gives its number. Memory grows with them."""
        ...

    def finish(self, known: Known) -> Iterator[Item]:
        """The pages, as they are if those in front of them gave ``known``; then what there is to say at the end of the
        document, if that is theirs. The last page comes behind what is ``Learned`` with it."""
        ...


@runtime_checkable
class InParts(Protocol):
    """A parser whose documents several processes may read at once. It gives ``Learned`` before each page whose number
    is a multiple of ``limits.PART_PAGES`` and which is not the last."""

    def knowing(self, known: Known) -> Parser:
        """The same parser for what follows the pages that gave ``known``."""
        ...

    def part(self, path: Path, first_page: int, last_page: int) -> AbstractContextManager[Part]:
        """Pages of a document, the last of which there is."""
        ...
