"""The whole system on a bucket whose server is killed, stopped, slow, or answers errors. A proxy makes the last two.

After each: what was accepted is done, what was not is nowhere, and nobody had to help.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from benchmarks.harness import Server
from datadistiller.objects.s3_calls import Bucket
from datadistiller.store import embedded
from tests import services
from tests.contracts.objects_kit import CREDENTIALS, Remote, bucket_at
from tests.proxy import Mode, Proxy
from tools.services.minio import PASSWORD, USER, MinioServer

PATIENCE = 180.0
LARGE = 6_000_000  # bytes: two parts


@pytest.fixture(scope="module")
def own_minio() -> Iterator[MinioServer]:
    yield from services.for_session(MinioServer)


@pytest.fixture(scope="module")
def proxy(own_minio: MinioServer) -> Iterator[Proxy]:
    running = Proxy(own_minio.ports["client"])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def bucket(own_minio: MinioServer) -> Bucket:
    return bucket_at(own_minio.url)


@pytest.fixture(scope="module")
def running(bucket: Bucket, proxy: Proxy) -> Iterator[Server]:
    """One system for all faults: it must have recovered from one when the next comes."""
    scratch = Path(tempfile.mkdtemp(prefix="dd-failure-"))
    scratch.chmod(0o755)
    server = Server(
        scratch / "data", objects_url=f"s3://{bucket.name}", s3_endpoint=proxy.url, s3_access_key=USER,
        s3_secret_key=PASSWORD, s3_timeout_seconds=3, sweep_grace_seconds=3, abandoned_upload_hours=1 / 360,
    )  # fmt: skip
    server.start()
    yield server
    server.stop()
    server.http.close()
    shutil.rmtree(scratch, ignore_errors=True)


class Uploads:
    """Uploads small and large files without a pause; keeps what was answered."""

    def __init__(self, server: Server, name: str) -> None:
        self.accepted: list[str] = []
        self.refused: list[httpx.Response] = []
        self._server = server
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for n in range(10_000):
            if self._stop.is_set():
                return
            text = f"{self._name} {n}: the harbour master of Port {n} keeps a brass bell. ".encode()
            if n % 10 == 9:
                text = text.ljust(LARGE)  # much to store, nothing to read
            answer = self._server.http.post("/api/v2/documents/upload", files={"file": (f"{n}.txt", text)})
            if answer.status_code == 202:
                self.accepted.append(answer.json()["job_id"])
            else:
                self.refused.append(answer)
            time.sleep(0.05)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def until(self, happened: Callable[[], object]) -> None:
        """Waits until something is true."""
        wait_for(happened)


def wait_for(happened: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)


@contextlib.contextmanager
def uploading(server: Server, name: str) -> Iterator[Uploads]:
    uploads = Uploads(server, name)
    try:
        yield uploads
    finally:
        uploads.stop()


def down(server: Server) -> list[str]:
    return list(server.http.get("/health").json()["down"])


def assert_nothing_is_lost_or_left(server: Server, bucket: Bucket, uploads: Uploads) -> None:
    """Every accepted document is done and has its object; there are no other objects and no unfinished uploads."""
    wait_for(lambda: "objects" not in down(server))
    for answer in uploads.refused:
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable"), answer.text
        assert int(answer.headers["retry-after"]) >= 1
    states = server.wait(uploads.accepted, PATIENCE)
    assert {state["status"] for state in states.values()} == {"completed"}
    with psycopg.connect(embedded.url_of(server.folder / "postgres")) as conn:
        known = sorted(str(key) for (key,) in conn.execute("SELECT object_key FROM document_jobs"))
    seen: list[list[str]] = []

    def agrees() -> bool:
        seen.append(asyncio.run(Remote(bucket).remains()))
        return seen[-1] == known

    try:
        wait_for(agrees)
    except AssertionError:
        missing, left = set(known) - set(seen[-1]), set(seen[-1]) - set(known)
        pytest.fail(f"missing: {missing}, left: {left}")
    found = server.http.get("/api/v2/doctor", params={"deep": True}, timeout=PATIENCE).json()["findings"]
    assert not [finding for finding in found if finding["level"] == "error"]


def test_killed_and_started_again(running: Server, own_minio: MinioServer, bucket: Bucket) -> None:
    with uploading(running, "kill") as uploads:
        uploads.until(lambda: len(uploads.accepted) > 10)
        asyncio.run(own_minio.kill())
        uploads.until(lambda: len(uploads.refused) > 1)
        assert down(running) == ["objects"]
        asyncio.run(own_minio.start())
        accepted = len(uploads.accepted)
        uploads.until(lambda: len(uploads.accepted) > accepted + 10)
    assert_nothing_is_lost_or_left(running, bucket, uploads)


def test_stopped_for_a_while(running: Server, own_minio: MinioServer, bucket: Bucket) -> None:
    with uploading(running, "stop") as uploads:
        uploads.until(lambda: len(uploads.accepted) > 5)
        asyncio.run(own_minio.pause())
        uploads.until(lambda: len(uploads.refused) > 1)
        assert down(running) == ["objects"]
        asyncio.run(own_minio.resume())
        accepted = len(uploads.accepted)
        uploads.until(lambda: len(uploads.accepted) > accepted + 5)
    assert_nothing_is_lost_or_left(running, bucket, uploads)


def test_errors_for_a_while(running: Server, proxy: Proxy, bucket: Bucket) -> None:
    with uploading(running, "errors") as uploads:
        uploads.until(lambda: len(uploads.accepted) > 5)
        proxy.set(Mode.ERRORS)
        uploads.until(lambda: len(uploads.refused) > 1)
        assert proxy.requests_failed > 3
        proxy.set(Mode.PASS)
        accepted = len(uploads.accepted)
        uploads.until(lambda: len(uploads.accepted) > accepted + 5)
    assert_nothing_is_lost_or_left(running, bucket, uploads)


def test_slow_is_slow_and_nothing_else(running: Server, proxy: Proxy, bucket: Bucket) -> None:
    with uploading(running, "slow") as uploads:
        proxy.set(Mode.SLOW)
        uploads.until(lambda: len(uploads.accepted) > 5)
        proxy.set(Mode.PASS)
        uploads.until(lambda: len(uploads.accepted) > 15)
    assert_nothing_is_lost_or_left(running, bucket, uploads)


def test_reading_waits_for_the_store_and_no_attempt_is_charged(
    running: Server, own_minio: MinioServer, bucket: Bucket
) -> None:
    text = "\n\n".join(f"Paragraph {n}: the keeper of lamp {n} writes into his book." for n in range(300))
    job = str(running.upload("book.txt", text.encode())["job_id"])
    running.http.post(f"/api/v2/documents/{job}/cancel").raise_for_status()
    asyncio.run(own_minio.kill())
    running.http.post(f"/api/v2/documents/{job}/retry").raise_for_status()
    with psycopg.connect(embedded.url_of(running.folder / "postgres"), autocommit=True) as conn:
        wait_for(lambda: parked(conn, job))
        assert charged(conn, job) == 0
        asyncio.run(own_minio.start())
    state = running.wait([job], PATIENCE)[job]
    assert (state["status"], state["attempt"]) == ("completed", 2)


def parked(conn: psycopg.Connection[Any], job: str) -> bool:
    return conn.execute("SELECT parked_since FROM messages WHERE job_id = %s", (job,)).fetchone() not in (None, (None,))


def charged(conn: psycopg.Connection[Any], job: str) -> int:
    row = conn.execute("SELECT tries + crashes FROM messages WHERE job_id = %s", (job,)).fetchone()
    return int(row[0]) if row else -1


def test_a_cut_upload_leaves_no_part(running: Server, bucket: Bucket) -> None:
    before = asyncio.run(Remote(bucket).remains())

    def body() -> Iterator[bytes]:
        yield b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        yield b"some text " * (LARGE // 10)
        raise ConnectionError("the client goes")

    with pytest.raises(ConnectionError):
        running.http.post(
            "/api/v2/documents/upload", content=body(), headers={"Content-Type": "multipart/form-data; boundary=XX"}
        )
    wait_for(lambda: asyncio.run(Remote(bucket).remains()) == before)
    assert CREDENTIALS.secret_key not in "".join(
        path.read_text(errors="replace") for path in (running.folder / "logs").iterdir()
    )
