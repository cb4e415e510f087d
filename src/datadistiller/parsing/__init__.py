"""The parsing port: bytes of one media type in, pages out. Parsers run only inside the sandboxed child."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


#: What a parser gives, one after the other.
Item = Header | Page | Problem


class Parser(Protocol):
    """Reads files of some media types. Pure function of the file; no network, no writing.

    ``parse`` yields one ``Header`` first, then ``Page``s in order, numbered from ``first_page``. A page that
    fails is a ``Page`` with ``problem`` set, never an exception; an exception (an ``errors.UnreadableDocument``,
    or anything else, which counts as damage) ends the document. A parser without pages ignores ``first_page``.
    A ``Problem`` between them is a warning: something was guessed or left out. It holds none of the document's text.
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
