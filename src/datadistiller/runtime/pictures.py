"""Draws pages of hostile files in a confined process of its own: the parser process, with another request.

There is one, started by the first picture and ended when none was wanted for a while, so that an idle server holds no
memory for it. Pictures are made one after the other; few may wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from datadistiller import errors
from datadistiller.parsing import drawing, protocol
from datadistiller.runtime.sandbox import COMMAND, KEPT_BYTES
from datadistiller.runtime.sandbox_child import Child, Ending, Gone, Silent

#: Pixels of the largest picture: a page of A4 or Letter at 2,000 pixels has less.
MOST_PIXELS = 8_000_000
#: Marks on one picture; of more, neighbours are drawn as one, so that the request fits the pipe.
MOST_MARKS = 1000
#: Requests that may wait for their picture, and how long, seconds.
MOST_WAITING = 8
WAIT_SECONDS = 10.0
#: How long the process is kept without work, seconds.
IDLE_SECONDS = 60.0
#: Memory of the process, MiB: with the API's own it fits into 1 GiB, where a container would end both.
MEMORY_MB = 512
#: Pictures yield to questions: the process is nicer than the API by this much.
NICER = 5

#: No PNG of so many pixels is larger.
MOST_BYTES = 4 * MOST_PIXELS
#: Pictures after which the process is replaced.
MOST_DRAWN = 200

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """What is to be drawn: ``width`` in pixels, ``marks`` in parts of the page."""

    media_type: str
    page: int
    width: int
    marks: Sequence[drawing.Mark] = ()


class Pictures:
    """The drawing process. ``seconds``: time for one picture; ``command`` is for tests: what to run instead of it."""

    def __init__(
        self,
        seconds: float,
        memory_mb: int = MEMORY_MB,
        *,
        idle_seconds: float = IDLE_SECONDS,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._seconds = seconds
        self._memory_mb = memory_mb
        self._idle_seconds = idle_seconds
        self._command = command
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._child: Child | None = None
        self._ending: set[asyncio.Task[Ending]] = set()
        self._idle: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        """Ends the process and waits until it is gone."""
        if self._idle is not None:
            self._idle.cancel()
        self._end()
        await asyncio.gather(*self._ending)

    async def draw(self, picture: Picture, file: AbstractAsyncContextManager[Path]) -> bytes:
        """The PNG of a page; ``file`` is entered when it is its turn, so that few copies lie on the disk.

        Raises ``errors.NoPicture`` if the page cannot be drawn, ``errors.CapacityError`` if too many wait,
        ``errors.TransientError`` if no process can be started, and what ``file`` raises.
        """
        async with self._in_turn(), file as path:
            child = await self._ready()
            try:
                answer, made = await self._converse(child, picture, path)
            except (Silent, Gone) as failure:
                ending = await asyncio.shield(self._retire(child))
                raise self._failed(picture, failure, ending) from None
            except BaseException:
                self._retire(child)
                raise
            child.documents += 1
            kept = int(answer.get("memory_bytes") or 0) - child.baseline_bytes
            if child.documents >= MOST_DRAWN or kept > KEPT_BYTES:
                self._retire(child)
        if answer["kind"] == "error":
            error = protocol.to_error(answer)
            _log.info("page_not_drawn", code=error.code, where=str(answer.get("where"))[:500])
            raise errors.NoPicture(f"Page {picture.page} cannot be drawn: {error.message}")
        return made

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            raise errors.CapacityError(f"{MOST_WAITING} pictures are waited for already.", retry_after=2)
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise errors.CapacityError("The pictures before this one take too long.", retry_after=5) from None
        finally:
            self._waiting -= 1
        try:
            if self._idle is not None:
                self._idle.cancel()
            yield
        finally:
            self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, self._end)
            self._turn.release()

    async def _ready(self) -> Child:
        if self._child is not None and self._child.dead:
            self._end()
        if self._child is None:
            try:
                self._child = await Child.spawn(self._command, self._memory_mb)
            except OSError as error:
                raise errors.TransientError(f"The drawing process did not start ({error.strerror}).") from error
            with contextlib.suppress(OSError):  # it has ended already, which is noticed below
                nice = os.getpriority(os.PRIO_PROCESS, self._child.pid)
                os.setpriority(os.PRIO_PROCESS, self._child.pid, nice + NICER)
        try:
            await self._child.ready()
        except BaseException:
            self._end()
            raise
        return self._child

    async def _converse(self, child: Child, picture: Picture, path: Path) -> tuple[Mapping[str, Any], bytes]:
        """The answer of the process, and the PNG if it is one."""
        child.ask(_request(picture, path, self._seconds))
        answer = await child.receive(self._seconds)
        if answer.get("kind") == "error":
            return answer, b""
        made = await child.receive_bytes(self._seconds, MOST_BYTES)
        if answer.get("kind") != "picture" or not made.startswith(drawing.SIGNATURE):
            raise Gone
        return answer, made

    def _failed(self, picture: Picture, failure: Exception, ending: Ending) -> errors.NoPicture:
        if isinstance(failure, Silent) or ending.timed_out:
            reason = f"it took longer than {self._seconds:g} seconds"
        elif ending.out_of_memory:
            reason = f"it needed more than {self._memory_mb} MiB of memory"
        else:
            reason = f"the program that draws died of it ({ending.describe()})"
        _log.warning("drawing_failed", page=picture.page, status=ending.status, error=ending.last_error)
        return errors.NoPicture(f"Page {picture.page} cannot be drawn: {reason}.")

    def _end(self) -> None:
        if self._child is not None:
            self._retire(self._child)

    def _retire(self, child: Child) -> asyncio.Task[Ending]:
        self._child = None
        ending = child.end()
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending


def _request(picture: Picture, path: Path, seconds: float) -> dict[str, Any]:
    return {
        "kind": "draw",
        "path": str(path.resolve()),
        "media_type": picture.media_type,
        "page": picture.page,
        "width": picture.width,
        "max_pixels": MOST_PIXELS,
        "marks": joined(picture.marks),
        "cpu_seconds": seconds,
    }


def joined(marks: Sequence[drawing.Mark]) -> list[drawing.Mark]:
    """The marks; of too many, neighbours become one around both."""
    found = list(marks)
    while len(found) > MOST_MARKS:
        found = [_around(found[at : at + 2]) for at in range(0, len(found), 2)]
    return found


def _around(marks: Sequence[drawing.Mark]) -> drawing.Mark:
    lefts, tops, rights, bottoms = zip(*marks, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
