"""One document, or some of its pages, while a parser reads it: what came of it, what went wrong, who reads next."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from datadistiller import errors, model
from datadistiller.parsing import Header, Known, protocol
from datadistiller.parsing.limits import PART_PAGES
from datadistiller.runtime.sandbox_parts import ReadPart
from datadistiller.runtime.sandbox_ports import Attachments, OnPage

#: Pages of one document that may crash, hang or exhaust their process before the parser is given up.
MAX_FAILED_PAGES = 5

#: Warnings kept of one document.
MAX_WARNINGS = 100

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may cost; the defaults are those of the settings of the same names."""

    parse_seconds: float = 300
    page_seconds: float = 60
    ocr_seconds: float = 1200
    memory_mb: int = 1536
    documents: int = 100
    max_pages: int = 10_000
    max_text_chars: int = 50_000_000

    @property
    def max_answer_bytes(self) -> int:
        """The longest message of a parser that is believed: all text on one page, escaped, and its blocks."""
        return 8 * self.max_text_chars + (16 << 20)


#: What a second reader may know better than the first. Passwords and limits are none of it.
_WORTH_ANOTHER = {
    kind.code
    for kind in (errors.DamagedDocument, errors.ParserCrashed, errors.ParserTimedOut, errors.ParserOutOfMemory)
}


class Reading:
    """One document, or some of its pages, on its way through one or more processes of one reader."""

    def __init__(
        self,
        path: Path,
        media_type: str,
        limits: Limits,
        on_page: OnPage | None = None,
        attachments: Attachments | None = None,
        password: str | None = None,
        *,
        reader: int = 0,
        pages: tuple[int, int | None] = (1, None),
        seconds: float | None = None,
    ) -> None:
        """``reader``: which one of those for the media type. ``pages``: the first and the last that are wanted (None:
        all). ``seconds`` that it may take, if not ``limits.parse_seconds``."""
        self.path = path
        self.media_type = media_type
        self.password = password
        self.limits = limits
        self.on_page = on_page
        self.attachments = attachments
        self.reader = reader
        self.limit: asyncio.Timeout | None = None
        self.seconds = limits.parse_seconds if seconds is None else seconds
        self.header: Header | None = None
        self.pages: list[model.Page] = []
        self.warnings: list[model.Problem] = []
        self.finished = False
        self.error: errors.DataDistillerError | None = None
        self._first, self._last = pages
        self._failures = 0
        self._retried = 0  # the page that was tried a second time, or 0
        self._characters = 0
        # not with a password: a process that has seen one is replaced, which costs more than a part saves
        self._in_parts = reader == 0 and pages == (1, None) and password is None
        self._known: Known | None = None  # behind the page before the next one
        self._known_page = 0

    @property
    def page_count(self) -> int | None:
        """How many pages the parser announced."""
        return self.header.page_count if self.header else None

    @property
    def over(self) -> bool:
        """True if this reader has nothing more to do."""
        return self.finished or self.error is not None

    @property
    def next(self) -> int:
        """The number of the page that comes next."""
        return self._first + len(self.pages)

    @property
    def _end(self) -> int | None:
        """The number of the page that is the last one, if that is known."""
        count = self.page_count
        return count if count is None or self._last is None else min(count, self._last)

    @property
    def _pause(self) -> int:
        """The last page of the part that the next page is in."""
        return self.next + -self.next % PART_PAGES

    @property
    def known(self) -> Known | None:
        """What the parser has learned of the pages so far, if it can go on with that."""
        return self._known if self._in_parts and self._known_page == self.next - 1 else None

    def part(self) -> dict[str, Any] | None:
        """What another process may be asked meanwhile: for the part behind that of the next page, if there is one."""
        first, count = self._pause + 1, self.page_count
        if self.known is None or count is None or first > count:
            return None
        last = min(first + PART_PAGES - 1, count)
        return self.request() | {"kind": "part", "first_page": first, "last_page": last, "known": None}

    def request(self) -> dict[str, Any]:
        """What the next process is asked."""
        return {
            "path": str(self.path.resolve()),
            "media_type": self.media_type,
            "reader": self.reader,
            "first_page": self.next,
            "last_page": self._last,
            "pause": self._pause if self._in_parts else None,
            "known": self.known,
            "max_pages": self.limits.max_pages,
            "max_text_chars": self.limits.max_text_chars,
            "cpu_seconds": self.limits.parse_seconds + self.limits.ocr_seconds,
            "max_attachments": self.attachments.most_members if self.attachments else None,
            "max_attachment_bytes": self.attachments.most_bytes if self.attachments else 0,
            "password": self.password,
        }

    def take(self, answer: Mapping[str, Any]) -> bool:
        """Records an answer that is no page; True if it ends the document. Raises ``protocol.Malformed``."""
        match answer.get("kind"):
            case "header":
                self.header = self.header or protocol.to_header(answer)
                return False
            case "warning":
                self._warn(protocol.to_warning(answer))
                return False
            case "learned":
                self._known_page = self.next
                self._known = protocol.to_learned(answer, self.next)
                return False
            case "pause" if self.known is not None:  # or it would pause for ever
                return True
            case "error":
                self.error = protocol.to_error(answer)
                _log.info("document_unreadable", code=self.error.code, where=str(answer.get("where"))[:500])
            case "end" if self.header:
                self.finished = True
            case _:
                raise protocol.Malformed("kind")
        return True

    def _warn(self, warning: model.Problem) -> None:
        if warning not in self.warnings and len(self.warnings) < MAX_WARNINGS:  # a second process says it again
            self.warnings.append(warning)

    def add(self, page: model.Page) -> None:
        """Records the next page. Raises ``protocol.Malformed`` if it is not the next one."""
        if self.header is None or page.number != self.next:
            raise protocol.Malformed("order")
        self.pages.append(page)
        self._characters += len(page.text)
        if self._characters > self.limits.max_text_chars:
            raise errors.LimitExceeded(
                f"The document has more than {self.limits.max_text_chars:,} characters of text "
                "(DATADISTILLER_MAX_TEXT_CHARS)."
            )
        if page.recognised:
            self._prolong()

    def join(self, part: ReadPart) -> None:
        """Records the pages that another process has read meanwhile."""
        for page in part.pages:
            self.add(page)
        for warning in part.warnings:
            self._warn(warning)
        self._known, self._known_page = part.known, self.next - 1
        self.finished = self.next > (self.page_count or 0)

    def _prolong(self) -> None:
        """A page took long for a good reason: so many more seconds for the others, while there are any left."""
        more = min(self.limits.page_seconds, self.limits.parse_seconds + self.limits.ocr_seconds - self.seconds)
        when = self.limit.when() if self.limit else None
        if self.limit and when is not None and not self.limit.expired():
            self.limit.reschedule(when + more)
            self.seconds += more

    def give_up(self, error: errors.PermanentError) -> None:
        """Pages that were read are kept, and all others failed; without any the document did."""
        if self._end is None or not any(page.text for page in self.pages):
            self.error = error
            return
        for page in range(self.next, self._end + 1):
            self.pages.append(model.Page(page, "", problem=error.problem()))
        self.finished = True

    def failed(self, error: errors.PermanentError, retry: bool) -> None:
        """The process died at the next page: it is tried again, given up alone, or the document fails."""
        page = self.next
        self._in_parts = False  # from here on one after the other, so that no page is blamed for another
        paged = self.page_count is not None and self.page_count > 1
        if self._retried != page and (retry or not (paged or isinstance(error, errors.ParserTimedOut))):
            self._retried = page
            return
        self._failures += 1
        if not paged or self._failures > MAX_FAILED_PAGES:
            self.give_up(error)
            return
        self.pages.append(model.Page(page, "", problem=error.problem()))
        self.finished = page == self._end

    async def settle_attachments(self, unread: bool = False) -> None:
        """After a death: those of a page that is tried again come again, those of one that is given up do not.

        ``unread``: there is no time for the page that they came with.
        """
        if self.attachments is None:
            return
        if unread or self._retried == self.next:
            await self.attachments.rewind()
        else:
            self.attachments.keep()

    @contextlib.contextmanager
    def pausing(self) -> Iterator[None]:
        """What happens inside is not the parser's time: a slow store must not fail the document."""
        begun = time.monotonic()
        yield
        if self.limit is not None and not self.limit.expired() and (when := self.limit.when()) is not None:
            self.limit.reschedule(when + time.monotonic() - begun)

    def others(self) -> Iterator[Reading]:
        """What the next reader is asked: for the whole document if this one has none of it, else for pages that failed.

        Nothing, if what happened is no matter of the reader, or no time is left. Other readers give text alone: the
        files in the document are those that the first one found. What the limits of time leave is for all readers.
        """
        wanted: list[tuple[int, int | None]] = []
        if self.error is None:
            wanted += _runs([page.number for page in self.pages if _worth_another(page)])
        elif self.error.code in _WORTH_ANOTHER:
            wanted.append((1, None))
        for pages in wanted:
            if (seconds := self._left()) > 0:
                yield Reading(
                    self.path, self.media_type, self.limits, None, None, self.password,
                    reader=self.reader + 1, pages=pages, seconds=seconds,
                )  # fmt: skip

    def _left(self) -> float:
        when = self.limit.when() if self.limit else None
        return max(0.0, when - asyncio.get_running_loop().time()) if when is not None else 0.0

    def complete(self, other: Reading) -> None:
        """Takes what another reader has read of what this one could not; without words a reason is worth more."""
        found = {page.number: page for page in other.pages if any(char.isalnum() for char in page.text)}
        if other.header is None or other.error is not None or not found:
            return
        if self.error is not None:
            self._warn(_replaced("Whole document", self.error.message, other.header.parser))
            self.header, self.pages, self.error, self.finished = other.header, other.pages, None, True
        elif self.header is not None and other.page_count == self.page_count:  # else they count pages differently
            failed = [page for page in self.pages if page.number in found]
            self.pages = [found.get(page.number, page) for page in self.pages]
            reason = failed[0].problem.message if failed[0].problem else ""
            self._warn(_replaced(_named([page.number for page in failed]), reason, other.header.parser))
            names = dict.fromkeys((*self.header.parser.split(", "), other.header.parser))
            self.header = dataclasses.replace(self.header, parser=", ".join(names))
        for warning in other.warnings:
            self._warn(warning)

    def document(self) -> model.ParsedDocument:
        """What was read. Raises what ended the document."""
        if self.error is not None:
            raise self.error
        assert self.header is not None
        header = self.header
        return model.ParsedDocument(
            tuple(self.pages), header.title, header.parser, header.media_type, tuple(self.warnings), header.encoding
        )


def _worth_another(page: model.Page) -> bool:
    return page.problem is not None and page.problem.code in _WORTH_ANOTHER


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Numbers in ascending order as first and last of those that follow each other."""
    start = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
            yield numbers[start], numbers[at - 1]
            start = at


def _named(numbers: Sequence[int]) -> str:
    """Pages that follow each other, for a sentence."""
    return f"Page {numbers[0]}" if len(numbers) == 1 else f"Pages {numbers[0]} to {numbers[-1]}"


def _replaced(what: str, reason: str, parser: str) -> model.Problem:
    return model.Problem(
        "another_reader",
        f"{what}: {reason} Another reader ({parser}) gave the text, without places, headings and tables.",
        "If something is missing, save the file again in its own program and upload that.",
    )
