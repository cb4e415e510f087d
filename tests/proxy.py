"""A pass-through proxy that a test can make slow, or let answer errors: what a real server does only under load.

It forwards bytes between a client and a real server. ``mode`` may be changed at any moment; connections made before
are closed then, so that a client's pool does not keep the old mode alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from enum import StrEnum

from tools.services import ports

_PIECE = 16 << 10


class Mode(StrEnum):
    """What happens to a request."""

    PASS = "pass"
    SLOW = "slow"  # about 160 kB a second in each direction
    ERRORS = "errors"  # 500, with an S3 server's body
    BUSY = "busy"  # 429, with OpenSearch's body


_ANSWERS = {
    Mode.ERRORS: (
        b"500 Internal Server Error\r\nContent-Type: application/xml",
        b"<Error><Code>InternalError</Code><Message>We met an internal error.</Message></Error>",
    ),
    Mode.BUSY: (
        b"429 Too Many Requests\r\nContent-Type: application/json",
        b'{"error": {"type": "circuit_breaking_exception", "reason": "[parent] Data too large"}, "status": 429}',
    ),
}


class Proxy:
    """In front of the server at the port ``there``; on the port given or a free one, in a thread of its own."""

    def __init__(self, there: int, port: int | None = None) -> None:
        self._there = there
        self.port = port or ports.free(["proxy"])["proxy"]
        self.url = f"http://{ports.LOOPBACK}:{self.port}"
        self.requests_failed = 0
        self._mode = Mode.PASS
        self._open: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)
        self._thread.start()
        self._listening.wait()

    def set(self, mode: Mode) -> None:
        """Changes the mode for all requests from now on."""
        asyncio.run_coroutine_threadsafe(self._set(mode), self._loop).result()

    def stop(self) -> None:
        """Closes everything."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _set(self, mode: Mode) -> None:
        self._mode = mode
        await self._cut()

    async def _cut(self) -> None:
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _run(self) -> None:
        async with await asyncio.start_server(self._accept, ports.LOOPBACK, self.port):
            self._listening.set()
            await self._stop.wait()
            await self._cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await (self._refuse(reader, writer) if self._mode in _ANSWERS else self._forward(reader, writer))
        finally:
            self._open.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection(ports.LOOPBACK, self._there)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, requests))
                both.create_task(self._copy(answers, writer))
        finally:
            requests.close()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_PIECE):
            if self._mode is Mode.SLOW:
                await asyncio.sleep(0.1)
            sink.write(data)
            await sink.drain()
        sink.write_eof()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower()[:15] == b"content-length:"), 0)
        await reader.readexactly(length)
        self.requests_failed += 1
        head, body = _ANSWERS[self._mode]
        writer.write(b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        await writer.drain()
