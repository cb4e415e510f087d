"""Parses hostile files: a few warm, confined, killable processes, and what to do when one of them dies.

``parsing.confine`` says which limits hold on which system. The sandbox itself keeps the limits of time, and
keeps what a bad page costs to that page.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from datadistiller import errors, model
from datadistiller.parsing import Header, confine, formats, protocol
from datadistiller.parsing.attaching import clean_path
from datadistiller.parsing.limits import PIECE_BYTES
from datadistiller.runtime.sandbox_child import Child, Ending, Gone, Silent
from datadistiller.runtime.sandbox_ports import Attachments, OnPage

#: The parser process; the memory it may use is added as its last argument.
COMMAND = (sys.executable, "-s", "-m", "datadistiller.parsing.child")

#: Pages of one document that may crash, hang or exhaust their process before the document fails.
MAX_FAILED_PAGES = 5

#: Warnings kept of one document.
MAX_WARNINGS = 100

#: A process that kept more memory than this after a document, beyond what it started with, is replaced, bytes.
KEPT_BYTES = 96 << 20

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


class _Reading:
    """One document on its way through one or more processes."""

    def __init__(
        self,
        path: Path,
        media_type: str,
        limits: Limits,
        on_page: OnPage | None,
        attachments: Attachments | None,
        password: str | None,
    ) -> None:
        self.path = path
        self.media_type = media_type
        self.password = password
        self.limits = limits
        self.on_page = on_page
        self.attachments = attachments
        self.limit: asyncio.Timeout | None = None
        self.seconds = limits.parse_seconds
        self.header: Header | None = None
        self.pages: list[model.Page] = []
        self.warnings: list[model.Problem] = []
        self.finished = False
        self.error: errors.DataDistillerError | None = None
        self._failures = 0
        self._retried = 0  # the page that was tried a second time, or 0

    @property
    def page_count(self) -> int | None:
        """How many pages the parser announced."""
        return self.header.page_count if self.header else None

    def request(self) -> dict[str, Any]:
        """What the next process is asked."""
        return {
            "path": str(self.path.resolve()),
            "media_type": self.media_type,
            "first_page": len(self.pages) + 1,
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
        if self.header is None or page.number != len(self.pages) + 1:
            raise protocol.Malformed("order")
        self.pages.append(page)
        if page.recognised:
            self._prolong()

    def _prolong(self) -> None:
        """A page took long for a good reason: so many more seconds for the others, while there are any left."""
        more = min(self.limits.page_seconds, self.limits.parse_seconds + self.limits.ocr_seconds - self.seconds)
        when = self.limit.when() if self.limit else None
        if self.limit and when is not None and not self.limit.expired():
            self.limit.reschedule(when + more)
            self.seconds += more

    def give_up(self, error: errors.PermanentError) -> None:
        """Pages that were read are kept, and all others failed; without any the document did."""
        if self.page_count is None or not any(page.text for page in self.pages):
            self.error = error
            return
        for page in range(len(self.pages) + 1, self.page_count + 1):
            self.pages.append(model.Page(page, "", problem=error.problem()))
        self.finished = True

    def failed(self, error: errors.PermanentError, retry: bool) -> None:
        """The process died at the next page: it is tried again, given up alone, or the document fails."""
        page = len(self.pages) + 1
        paged = self.page_count is not None and self.page_count > 1
        if self._retried != page and (retry or not (paged or isinstance(error, errors.ParserTimedOut))):
            self._retried = page
            return
        self._failures += 1
        if not paged or self._failures > MAX_FAILED_PAGES:
            self.give_up(error)
            return
        self.pages.append(model.Page(page, "", problem=error.problem()))
        self.finished = page == self.page_count

    async def settle_attachments(self, unread: bool = False) -> None:
        """After a death: those of a page that is tried again come again, those of one that is given up do not.

        ``unread``: there is no time for the page that they came with.
        """
        if self.attachments is None:
            return
        if unread or self._retried == len(self.pages) + 1:
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

    def document(self) -> model.ParsedDocument:
        """What was read. Raises what ended the document."""
        if self.error is not None:
            raise self.error
        assert self.header is not None
        header = self.header
        return model.ParsedDocument(
            tuple(self.pages), header.title, header.parser, header.media_type, tuple(self.warnings), header.encoding
        )


class Sandbox:
    """Parses up to ``concurrency`` documents at a time, each in a process of its own that is kept warm.

    A process is replaced after ``limits.documents`` documents, when it kept memory, and whenever it misbehaved.
    ``command`` is for tests: what to run instead of the real parser process.
    """

    def __init__(self, limits: Limits, *, concurrency: int = 2, command: Sequence[str] = COMMAND) -> None:
        self._limits = limits
        self._command = command
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._idle: list[Child] = []
        self._ending: set[asyncio.Task[Ending]] = set()
        self._told = False

    async def start(self) -> None:
        """Starts the processes, so that the first document does not wait; not needed before ``parse``."""
        while len(self._idle) < self._concurrency:
            self._idle.append(await self._spawn())

    async def close(self) -> None:
        """Ends all processes and waits until they are gone."""
        while self._idle:
            self._retire(self._idle.pop())
        await asyncio.gather(*self._ending)

    async def parse(
        self,
        path: Path,
        media_type: str,
        on_page: OnPage | None = None,
        attachments: Attachments | None = None,
        *,
        password: str | None = None,
    ) -> model.ParsedDocument:
        """Reads a file. A page that cannot be read has a ``problem``; text and pages of the others are there.

        Nor can one be that no time was left for, or that comes after too many others. Each page that had to be
        recognised gives the document ``page_seconds`` more, up to ``ocr_seconds``. The files in it go to
        ``attachments``; without that they are passed over. A password goes through the pipe, and the process that has
        seen one reads no other document.

        Raises an ``errors.UnreadableDocument`` for what is wrong with the file, ``errors.ParserCrashed``,
        ``ParserTimedOut`` and ``ParserOutOfMemory`` if that happened before any text was read,
        ``errors.TransientError`` if no process can be started. Cancelling kills the process at once.
        """
        reading = _Reading(path, media_type, self._limits, on_page, attachments, password)
        async with self._slots:
            try:
                async with asyncio.timeout(self._limits.parse_seconds) as limit:
                    reading.limit = limit
                    while not (reading.finished or reading.error):
                        await self._attempt(reading)
            except TimeoutError:
                if not limit.expired():
                    raise
                reading.give_up(
                    errors.ParserTimedOut(f"Reading the document took longer than {reading.seconds:g} seconds.")
                )
                await reading.settle_attachments(unread=True)
        return reading.document()

    async def _attempt(self, reading: _Reading) -> None:
        """Reads on in one process, to the end or until that process fails."""
        child = await self._take()
        try:
            answer = await self._converse(child, reading)
        except (Silent, Gone, protocol.Malformed) as failure:
            ending = await asyncio.shield(self._retire(child))
            self._failed(reading, failure, ending)
            await reading.settle_attachments()
        except BaseException:
            self._retire(child)
            raise
        else:
            await self._give_back(child, int(answer.get("memory_bytes") or 0), spent=reading.password is not None)

    async def _converse(self, child: Child, reading: _Reading) -> Mapping[str, Any]:
        """The last answer of the process about this document."""
        child.ask(reading.request())
        while True:
            answer = await child.receive(self._limits.page_seconds, self._limits.max_answer_bytes)
            if answer.get("kind") == "page":
                large = len(answer.get("text") or "") > 1 << 18
                to_page = protocol.to_page
                reading.add(await asyncio.to_thread(to_page, answer) if large else to_page(answer))
                if reading.attachments is not None:
                    reading.attachments.keep()
                if reading.on_page is not None:
                    await reading.on_page(len(reading.pages), reading.page_count)
            elif answer.get("kind") == "attachment" and reading.attachments is not None:
                await self._attachment(child, reading, reading.attachments, answer)
            elif reading.take(answer):
                return answer

    async def _attachment(
        self, child: Child, reading: _Reading, attachments: Attachments, told: Mapping[str, Any]
    ) -> None:
        """One file out of the document, with its bytes. Raises ``protocol.Malformed``, and what storing it raises."""
        path, media_type, size, problem = protocol.to_attachment(told)
        path = clean_path(path)
        if problem is not None:
            attachments.refuse(path, size, problem)
            return
        if media_type not in formats.BY_MEDIA_TYPE:
            raise protocol.Malformed("media type")
        await attachments.begin(path, media_type)
        while piece := await child.receive_bytes(self._limits.page_seconds, PIECE_BYTES):
            with reading.pausing():
                await attachments.write(piece)
        problem = protocol.to_problem(await child.receive(self._limits.page_seconds))
        with reading.pausing():
            await attachments.end(problem)

    def _failed(self, reading: _Reading, failure: Exception, ending: Ending) -> None:
        place = f"page {len(reading.pages) + 1}" if reading.header else "the document"
        error: errors.PermanentError
        if isinstance(failure, Silent) or ending.timed_out:
            seconds = self._limits.page_seconds
            error = errors.ParserTimedOut(
                f"Reading {place} took longer than {seconds:g} seconds.",
                hint="Split the document, or raise DATADISTILLER_PAGE_SECONDS.",
            )
        elif ending.out_of_memory:
            error = errors.ParserOutOfMemory(
                f"Reading {place} needed more than {self._limits.memory_mb} MiB of memory."
            )
        else:
            error = errors.ParserCrashed(f"The parser died while reading {place} ({ending.describe()}).")
        _log.warning(
            "parser_failed", code=error.code, page=len(reading.pages) + 1, status=ending.status, error=ending.last_error
        )
        # Memory may have been used up by earlier pages or documents, and a kill from outside says nothing.
        reading.failed(error, retry=ending.out_of_memory or (ending.from_outside and not isinstance(failure, Silent)))

    async def _spawn(self) -> Child:
        """Raises ``errors.TransientError`` if the system has no process to give."""
        try:
            return await Child.spawn(self._command, self._limits.memory_mb)
        except OSError as error:
            raise errors.TransientError(f"The parser process did not start ({error.strerror}).") from error

    async def _take(self) -> Child:
        """A process that is ready, a warm one if there is one."""
        child = self._idle.pop() if self._idle else await self._spawn()
        if child.dead:
            self._retire(child)
            child = await self._spawn()
        try:
            await child.ready()
        except BaseException:
            self._retire(child)
            raise
        self._tell(child)
        return child

    def _tell(self, child: Child) -> None:
        """Says once what of the kernel keeps the parsers in; a warning if something is missing."""
        if self._told:
            return
        self._told = True
        missing = [name for name in confine.KERNEL if name not in child.confined_by]
        (_log.warning if missing else _log.info)("parsers_confined", by=list(child.confined_by), missing=missing)

    async def _give_back(self, child: Child, memory_bytes: int, spent: bool) -> None:
        """Keeps the process for the next document, or replaces it."""
        child.documents += 1
        spent = spent or child.documents >= self._limits.documents
        if spent or memory_bytes > child.baseline_bytes + KEPT_BYTES:
            self._retire(child)
            with contextlib.suppress(errors.TransientError):  # this document is read; the next one tries again
                self._idle.append(await self._spawn())
        else:
            self._idle.append(child)

    def _retire(self, child: Child) -> asyncio.Task[Ending]:
        ending = child.end()
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending
