"""One parser process as the sandbox sees it: started, asked, listened to, ended. Leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datadistiller
from datadistiller import errors
from datadistiller.parsing import protocol

#: How long a new process may take until it is ready, seconds.
START_SECONDS = 60.0

_STDERR_BYTES = 4096
_READ_BYTES = 1 << 18
#: A process that died with this share of its memory in use died of it: allocators in C abort.
_MEMORY_SHARE = 0.6
_ERROR_NAME = re.compile(rb"^(?:Fatal Python error: )?([A-Za-z_.]+(?:Error|Exception|fault|Abort)\w*)", re.M)
#: What a parser process sees of the environment: what its Python needs to start, never a secret.
_ENVIRONMENT = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ")
#: OpenBLAS (in numpy and OpenCV) reserves memory for each of its threads, and none of them has work here.
_FIXED = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONFAULTHANDLER": "1", "OPENBLAS_NUM_THREADS": "1"}


class Silent(Exception):
    """The process did not answer in time."""


class Gone(Exception):
    """The process ended, or sent something that is no answer."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: its exit status (negative: the signal), and whether memory was the reason."""

    status: int
    out_of_memory: bool
    last_error: str  # the type of the error it died with, if it said so

    @property
    def timed_out(self) -> bool:
        """True if its CPU time was used up."""
        return self.status == -signal.SIGXCPU

    @property
    def from_outside(self) -> bool:
        """True if somebody killed it: the system, or a person."""
        return self.status in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)

    def describe(self) -> str:
        """For a message: the signal's name or the exit status."""
        if self.status >= 0:
            return f"exit status {self.status}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-self.status).name
        return f"signal {-self.status}"


class _Tail(asyncio.Protocol):
    """Keeps the end of what the process writes to standard error."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def data_received(self, data: bytes) -> None:
        self.data = (self.data + data)[-_STDERR_BYTES:]


class Child:
    """A parser process. ``memory_mb`` is what it may use beyond what it starts with."""

    def __init__(self, process: subprocess.Popen[bytes], memory_mb: int) -> None:
        self._process = process
        self._memory = memory_mb << 20
        self._reader = asyncio.StreamReader(limit=_READ_BYTES)
        self._tail = _Tail()
        self._transports: list[asyncio.BaseTransport] = []
        self._ended: asyncio.Task[Ending] | None = None
        self._ready = False
        self.pid = process.pid
        self.documents = 0
        self.baseline_bytes = 0
        self.confined_by: tuple[str, ...] = ()

    @classmethod
    async def spawn(cls, command: Sequence[str], memory_mb: int) -> Child:
        """Starts a process; ``ready`` waits until it answers. The event loop's thread must outlive it."""
        source = str(Path(datadistiller.__file__).parent.parent)
        env = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        process = subprocess.Popen(  # noqa: ASYNC220 - some milliseconds; its death signal is tied to this thread
            [*command, str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=env | {"PYTHONPATH": source} | _FIXED,
            cwd="/",
            process_group=0,  # to be killed whole; not a session of its own, in which its nice value would not count
        )
        child = cls(process, memory_mb)
        try:
            await child._connect()
        except BaseException:
            await asyncio.shield(child.end())  # nobody else knows of it
            raise
        return child

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        for pipe, receiver in (
            (self._process.stdout, asyncio.StreamReaderProtocol(self._reader)),
            (self._process.stderr, self._tail),
        ):
            transport, _ = await loop.connect_read_pipe(lambda receiver=receiver: receiver, pipe)  # type: ignore[misc]
            self._transports.append(transport)

    @property
    def dead(self) -> bool:
        """True if it is known to have ended."""
        return self._ended is not None or self._reader.at_eof()

    async def ready(self) -> None:
        """Waits until the process has started. Raises ``errors.TransientError`` if it does not."""
        if self._ready:
            return
        try:
            answer = await self.receive(START_SECONDS)
        except (Silent, Gone) as error:
            ending = await asyncio.shield(self.end())
            reason = ending.last_error or ending.describe()
            raise errors.TransientError(f"The parser process did not start ({reason}).") from error
        self._ready = True
        self.baseline_bytes = int(answer.get("memory_bytes") or 0)
        self.confined_by = tuple(answer.get("confined_by") or ())

    def ask(self, request: Mapping[str, Any]) -> None:
        """Sends a request; it fits the pipe, so this does not block. Raises ``Gone``."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(protocol.pack(request))
        except OSError as error:
            raise Gone from error

    async def tell(self, message: Mapping[str, Any], seconds: float) -> None:
        """Sends what may not fit the pipe. Raises ``Gone``, and ``Silent`` if it is not taken after so many seconds."""
        try:
            async with asyncio.timeout(seconds) as limit:
                await asyncio.to_thread(self.ask, message)  # one that goes on after that ends with the process
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Silent from error

    async def receive(self, seconds: float, max_bytes: int = _READ_BYTES) -> dict[str, Any]:
        """The next answer. Raises ``Silent`` after so many seconds, and ``Gone``."""
        body = await self.receive_bytes(seconds, max_bytes)
        try:
            # Large pages are decoded beside the event loop, so that heartbeats go on.
            return protocol.unpack(body) if len(body) < _READ_BYTES else await asyncio.to_thread(protocol.unpack, body)
        except protocol.Malformed as error:
            raise Gone from error

    async def receive_bytes(self, seconds: float, max_bytes: int) -> bytes:
        """Bytes with their length in front, as they came over the pipe. Raises as ``receive`` does."""
        try:
            async with asyncio.timeout(seconds) as limit:
                length = int.from_bytes(await self._reader.readexactly(protocol.LENGTH_BYTES), "big")
                if length > max_bytes:
                    raise Gone
                return await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            raise Gone from error
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise Silent from error

    def end(self) -> asyncio.Task[Ending]:
        """Kills the process at once, closes its pipes, and reaps it in the background. May be called again."""
        if self._ended is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._ended = asyncio.get_running_loop().create_task(self._reap())
        return self._ended

    async def _reap(self) -> Ending:
        _, status, usage = await asyncio.get_running_loop().run_in_executor(None, os.wait4, self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._tail.closed.wait(), 1.0)  # what it wrote last is still in the pipe
        for transport in self._transports:
            transport.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        return self._ending(self._process.returncode, usage)

    def _ending(self, status: int, usage: resource.struct_rusage) -> Ending:
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        aborted = status < 0 and status not in (-signal.SIGKILL, -signal.SIGXCPU)
        names = _ERROR_NAME.findall(self._tail.data)
        return Ending(
            status,
            status == protocol.EXIT_MEMORY or (aborted and peak > max(_MEMORY_SHARE * self._memory, _own_peak())),
            names[-1].decode()[:80] if names else "",
        )


def _own_peak() -> int:
    """Bytes. Linux lets a child begin with its parent's peak, so that below it nothing can be told."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
