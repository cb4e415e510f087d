"""Parses hostile files: a few warm, confined, killable processes, and what to do when one of them dies.

``parsing.confine`` says which limits hold on which system. The sandbox itself keeps the limits of time, and
keeps what a bad page costs to that page.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from datadistiller import errors, model
from datadistiller.parsing import Known, confine, formats, protocol, registry
from datadistiller.parsing.attaching import clean_path
from datadistiller.parsing.limits import PIECE_BYTES
from datadistiller.runtime.sandbox_child import Child, Ending, Gone, Silent
from datadistiller.runtime.sandbox_parts import ReadPart, read_part
from datadistiller.runtime.sandbox_ports import Attachments, OnPage
from datadistiller.runtime.sandbox_reading import MAX_FAILED_PAGES, Limits, Reading

__all__ = ["COMMAND", "MAX_FAILED_PAGES", "Limits", "Sandbox"]

#: The parser process; the memory it may use is added as its last argument.
COMMAND = (sys.executable, "-s", "-m", "datadistiller.parsing.child")

#: A process that kept more memory than this after a document, beyond what it started with, is replaced, bytes.
KEPT_BYTES = 96 << 20

_log = structlog.get_logger(__name__)


class Sandbox:
    """Parses up to ``concurrency`` documents at a time, each in a process of its own that is kept warm.

    A process is replaced after ``limits.documents`` documents, when it kept memory, and whenever it misbehaved.
    ``readers`` says how many parsers there are for a media type, see ``registry``. ``command`` is for tests: what to
    run instead of the real parser process.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        concurrency: int = 2,
        command: Sequence[str] = COMMAND,
        readers: Callable[[str, bool], int] = registry.readers,
    ) -> None:
        self._limits = limits
        self._command = command
        self._readers = readers
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._idle: list[Child] = []
        self._ending: set[asyncio.Task[Ending]] = set()
        self._helping: list[asyncio.Task[ReadPart | None]] = []
        self._told = False

    async def start(self) -> None:
        """Starts the processes, so that the first document does not wait; not needed before ``parse``."""
        while len(self._idle) < self._concurrency:
            self._idle.append(await self._spawn())

    async def close(self) -> None:
        """Ends all processes and waits until they are gone."""
        await asyncio.gather(*self._helping, return_exceptions=True)  # they were cancelled
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

        What one parser cannot read (the document, or some of its pages) is given to the next one for the media type, in
        another process and under the same limits; a warning of the document says so.

        Raises an ``errors.UnreadableDocument`` for what is wrong with the file, ``errors.ParserCrashed``,
        ``ParserTimedOut`` and ``ParserOutOfMemory`` if that happened before any text was read,
        ``errors.TransientError`` if no process can be started. Cancelling kills the process at once.
        """
        reading = Reading(path, media_type, self._limits, on_page, attachments, password)
        if self._slots.locked():
            self._make_place()
        async with self._slots:
            await self._read(reading)
        return reading.document()

    async def _read(self, reading: Reading) -> None:
        """Reads what is asked for, by the parser that is asked and those that take its place."""
        try:
            async with asyncio.timeout(reading.seconds) as limit:
                reading.limit = limit
                while not reading.over:
                    await self._advance(reading)
        except TimeoutError:
            if not limit.expired():
                raise
            reading.give_up(
                errors.ParserTimedOut(f"Reading the document took longer than {reading.seconds:g} seconds.")
            )
            await reading.settle_attachments(unread=True)
        if reading.reader + 1 < self._readers(reading.media_type, reading.error is None):
            for other in reading.others():
                await self._read(other)
                reading.complete(other)

    async def _advance(self, reading: Reading) -> None:
        """Reads on in one process; where another one has nothing to do, that reads the part behind meanwhile."""
        part = reading.part()
        if part is None or self._slots.locked():
            await self._attempt(reading)
            return
        await self._slots.acquire()  # at once: nobody waits
        known: asyncio.Future[Known] = asyncio.get_running_loop().create_future()
        helper = asyncio.create_task(self._help(part, known))
        self._helping.append(helper)
        helper.add_done_callback(self._helped)
        try:
            await self._attempt(reading)
            if not reading.over and reading.known is not None:
                known.set_result(reading.known)
                await asyncio.wait((helper,))
                if not helper.cancelled() and (read := helper.result()) is not None:
                    reading.join(read)
                    if reading.on_page is not None:
                        await reading.on_page(len(reading.pages), reading.page_count)
        finally:
            helper.cancel()

    def _helped(self, helper: asyncio.Task[ReadPart | None]) -> None:
        self._slots.release()
        self._helping.remove(helper)

    def _make_place(self) -> None:
        """Who waits comes before who is helped."""
        for helper in self._helping:
            if not helper.cancelling():
                helper.cancel()
                return

    async def _help(self, part: Mapping[str, Any], known: asyncio.Future[Known]) -> ReadPart | None:
        """Reads a part in a process of its own, whose place is taken; None if that did not succeed."""
        try:
            child = await self._take()
        except errors.TransientError:
            return None
        try:
            read = await read_part(child, part, known, self._limits.page_seconds, self._limits.max_answer_bytes)
        except (Silent, Gone, protocol.Malformed):
            ending = await asyncio.shield(self._retire(child))
            _log.info("part_not_read", first_page=part["first_page"], status=ending.status)
            return None
        except BaseException:
            self._retire(child)
            raise
        await self._give_back(child, read.memory_bytes if read else 0, spent=False)
        return read

    async def _attempt(self, reading: Reading) -> None:
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

    async def _converse(self, child: Child, reading: Reading) -> Mapping[str, Any]:
        """The last answer of the process about this document."""
        request = reading.request()
        if request["known"] is None:
            child.ask(request)
        else:
            await child.tell(request, self._limits.page_seconds)
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
        self, child: Child, reading: Reading, attachments: Attachments, told: Mapping[str, Any]
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

    def _failed(self, reading: Reading, failure: Exception, ending: Ending) -> None:
        place = f"page {reading.next}" if reading.header else "the document"
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
        _log.warning("parser_failed", code=error.code, page=reading.next, status=ending.status, error=ending.last_error)
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
