"""The API behind its real server and a socket: what only shows when bytes arrive one after the other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from datadistiller import errors
from datadistiller.api import server
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.runtime import listening
from datadistiller.store.database import Database
from tests.acceptance import api_parts

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)
LIMIT = 100_000_000
HEAD = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
TAIL = b"\r\n--XX--\r\n"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=XX"}


class Live:
    """A server on a free port, its parts, and the switch that stops it."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts
        self.stop = asyncio.Event()
        self.listener = server.listen("127.0.0.1", 0)
        self.port = int(self.listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.task = asyncio.create_task(server.serve(parts, self.stop, self.listener))

    def stored(self) -> list[Path]:
        """Everything in the object store."""
        return [path for path in (self.parts.settings.data_dir / "objects").rglob("*") if path.is_file()]

    async def emptied(self) -> None:
        """Returns when the object store holds nothing."""
        async with asyncio.timeout(30):
            while True:
                if not self.stored():
                    return
                await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    return OnnxEmbedder()


@pytest.fixture
async def live(database: Database, tmp_path: Path, embedder: OnnxEmbedder) -> AsyncIterator[Live]:
    async with api_parts.api_parts(database, tmp_path, embedder, max_upload_bytes=LIMIT) as parts:
        running = Live(parts)
        yield running
        running.stop.set()
        await running.task


@pytest.fixture
async def client(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=live.url, timeout=60) as made:
        yield made


class Body:
    """A form with a file of so many bytes, made while it is sent."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield HEAD
        piece = b"lorem ipsum dolor sit amet " * 10_000
        while self.sent < self.size:
            yield piece[: self.size - self.sent]
            self.sent = min(self.size, self.sent + len(piece))
        yield TAIL


@pytest.mark.parametrize("announced", [False, True])
async def test_two_gigabytes_are_refused_early(live: Live, announced: bool) -> None:
    body = Body(2_000_000_000)
    length = body.size + len(HEAD) + len(TAIL)
    framing = b"Content-Length: %d" % length if announced else b"Transfer-Encoding: chunked"
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    answer = asyncio.create_task(reader.readline())
    writer.write(
        b"POST /api/v2/documents/upload HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: multipart/form-data; boundary=XX\r\n" + framing + b"\r\n\r\n"
    )
    async for piece in body:
        writer.write(piece if announced else b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        if answer.done():
            break
    assert (await answer).startswith(b"HTTP/1.1 413")
    assert body.sent < LIMIT + 50_000_000
    writer.close()
    assert live.stored() == []


async def test_a_client_that_looks_late_gets_the_answer_too(live: Live, client: httpx.AsyncClient) -> None:
    body = Body(300_000_000)
    answer = await client.post("/api/v2/documents/upload", content=body, headers=MULTIPART)
    assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")
    assert str(LIMIT) in answer.json()["detail"]
    assert live.stored() == []


async def test_a_client_that_asks_first_sends_nothing(live: Live) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(
        b"POST /api/v2/documents/upload HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        b"Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: 2000000000\r\n\r\n"
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_large_upload_goes_through(live: Live, client: httpx.AsyncClient) -> None:
    body = Body(30_000_000)
    answer = await client.post("/api/v2/documents/upload", content=body, headers=MULTIPART)
    assert (answer.status_code, answer.json()["file_size"]) == (202, 30_000_000)
    assert [path.stat().st_size for path in live.stored()] == [30_000_000]
    content = await client.get(f"/api/v2/documents/{answer.json()['job_id']}/content")
    assert len(content.content) == 30_000_000


async def test_an_upload_cut_half_way_leaves_nothing(live: Live, client: httpx.AsyncClient) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(
        b"POST /api/v2/documents/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8000000\r\n"
        b"Content-Type: multipart/form-data; boundary=XX\r\n\r\n" + HEAD + b"some text " * 400_000
    )
    await writer.drain()
    async with asyncio.timeout(30):
        while True:
            if live.stored():
                break
            await asyncio.sleep(0.01)
    writer.transport.abort()
    await live.emptied()
    assert (await client.get("/api/v2/documents")).json()["jobs"] == []


async def test_a_refused_upload_does_not_disturb_the_next_one(live: Live, client: httpx.AsyncClient) -> None:
    for _ in range(3):
        refused = await client.post("/api/v2/documents/upload", files={"file": ("a.out", b"\x7fELF" + b"\0" * 300_000)})
        assert refused.status_code == 415
        accepted = await client.post("/api/v2/documents/upload", files={"file": ("a.txt", b"some text")})
        assert accepted.status_code == 202


async def test_streams_end_when_the_server_stops(live: Live, client: httpx.AsyncClient) -> None:
    job_id = (await client.post("/api/v2/documents/upload", files={"file": ("a.txt", b"x")})).json()["job_id"]
    async with client.stream("GET", f"/api/v2/documents/status/{job_id}/events") as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "id: 1"
        live.stop.set()
        rest = [line async for line in lines]
    assert rest[0] == "event: status"
    async with asyncio.timeout(listening.GRACE_SECONDS):
        await live.task


class CountedSignals:
    """Passes subscriptions on, and counts those that are open."""

    def __init__(self, signals: Any) -> None:
        self.open = 0
        self._signals = signals

    @contextmanager
    def subscribe(self, channel: str, payload: str) -> Iterator[Any]:
        with self._signals.subscribe(channel, payload) as subscription:
            self.open += 1
            try:
                yield subscription
            finally:
                self.open -= 1


async def test_a_watcher_that_leaves_is_forgotten(live: Live, client: httpx.AsyncClient) -> None:
    live.parts.signals = counted = CountedSignals(live.parts.signals)
    job_id = (await client.post("/api/v2/documents/upload", files={"file": ("a.txt", b"x")})).json()["job_id"]
    async with client.stream("GET", f"/api/v2/documents/status/{job_id}/events") as answer:
        await anext(answer.aiter_lines())
        assert counted.open == 1
    async with asyncio.timeout(30):
        while True:
            if counted.open == 0:
                return
            await asyncio.sleep(0.02)


async def test_a_running_upload_finishes_when_the_server_stops(live: Live) -> None:
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield HEAD + b"begin "
        live.stop.set()
        await gate.wait()
        yield b"end" + TAIL

    async with httpx.AsyncClient(base_url=live.url) as client:
        sending = asyncio.create_task(client.post("/api/v2/documents/upload", content=slow(), headers=MULTIPART))
        await live.stop.wait()
        await asyncio.sleep(0.2)
        gate.set()
        assert (await sending).status_code == 202


async def test_a_port_in_use_is_one_clear_sentence(live: Live) -> None:
    with pytest.raises(errors.SetupError, match=f"Port {live.port} of 127.0.0.1 is used"):
        server.listen("127.0.0.1", live.port)


async def test_an_address_of_another_machine_is_refused(live: Live) -> None:
    with pytest.raises(errors.SetupError, match=r"192\.0\.2\.1"):
        server.listen("192.0.2.1", 0)


async def test_rubbish_is_answered_and_closed(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port)) as raw:
        raw.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        answer = await asyncio.to_thread(raw.recv, 1000)
    assert answer.startswith(b"HTTP/1.1 400")
