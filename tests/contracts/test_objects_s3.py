"""What only a bucket does: it is made, gives links, keeps unfinished uploads, and can be set up wrongly."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import obstore.store
import pytest

from datadistiller import errors
from datadistiller.api.documents import disposition
from datadistiller.objects import s3, s3_errors, signature
from datadistiller.objects.s3 import S3Objects
from datadistiller.settings import Settings
from datadistiller.wiring import s3 as wired
from tests.contracts.objects_kit import CREDENTIALS, Remote, bucket_at, content, pieces
from tests.proxy import Proxy
from tools.services.minio import MinioServer
from tools.services.ports import LOOPBACK, free

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def remote(minio: MinioServer) -> Remote:
    return Remote(bucket_at(minio.url))


@pytest.fixture
async def store(remote: Remote) -> AsyncIterator[S3Objects]:
    opened = S3Objects(remote.bucket)
    await opened.prepare()
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def no_settings_of_mine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("DATADISTILLER_S3", "DATADISTILLER_OBJ", "AWS_"))]:
        monkeypatch.delenv(name)


# --- the bucket


async def test_a_bucket_that_is_not_there_is_made_by_whoever_comes_first(remote: Remote) -> None:
    several = [S3Objects(remote.bucket) for _ in range(4)]
    await asyncio.gather(*(store.prepare() for store in several))
    await several[0].put("uploads/a/x", pieces(b"1"))
    for store in several:
        await store.check()
        assert await content(store, "uploads/a/x") == b"1"
        await store.close()


async def test_a_bucket_that_vanishes_is_named_as_the_trouble(remote: Remote, minio: MinioServer) -> None:
    store = S3Objects(remote.bucket)
    await store.prepare()
    assert (await minio.request("DELETE", f"/{remote.bucket.name}")).is_success
    with pytest.raises(errors.Unavailable, match="NoSuchBucket"):
        await store.check()
    with pytest.raises(errors.Unavailable, match="NoSuchBucket"):
        await store.put("uploads/a/x", pieces(b"1"))
    await store.close()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"credentials": signature.Credentials(CREDENTIALS.access_key, "hunter2")}, "S3_SECRET_KEY"),
        ({"credentials": signature.Credentials("nobody", "hunter2")}, "S3_ACCESS_KEY"),
        ({"name": "No_Such_Name"}, "OBJECTS_URL"),
    ],
    ids=["secret", "key", "name"],
)
async def test_what_cannot_work_is_refused_at_once(minio: MinioServer, wrong: dict[str, object], says: str) -> None:
    store = S3Objects(bucket_at(minio.url, **wrong))
    with pytest.raises(errors.SetupError) as refused:
        await store.prepare()
    assert says in refused.value.hint
    assert "hunter2" not in f"{refused.value.message} {refused.value.hint}"
    with pytest.raises(errors.Unavailable):
        await store.put("uploads/a/x", pieces(b"1"))
    await store.close()


@pytest.mark.parametrize(
    "code", ["RequestTimeTooSkewed", "AccessDenied", "BucketAlreadyExists", "AuthorizationHeaderMalformed"]
)
def test_refusals_that_cannot_be_had_here_have_their_sentence(code: str) -> None:
    refused = s3_errors.setup_error("b", s3_errors.Refused(403, f"<Error><Code>{code}</Code></Error>"))
    assert refused is not None and refused.hint != errors.SetupError.default_hint
    assert s3_errors.setup_error("b", s3_errors.Refused(500, "")) is None


async def test_a_server_that_comes_later_is_used_then(remote: Remote, minio: MinioServer) -> None:
    [port] = free(["s3"]).values()
    store = S3Objects(replace(remote.bucket, endpoint=f"http://{LOOPBACK}:{port}", seconds=1))
    with pytest.raises(errors.Unavailable, match="no answer"):
        await store.prepare()
    with pytest.raises(errors.Unavailable):
        await store.check()
    proxy = Proxy(minio.ports["client"], port)
    await store.put("uploads/a/x", pieces(b"1"))
    await store.check()
    await store.close()
    proxy.stop()


async def test_a_prefix_keeps_two_systems_apart(remote: Remote) -> None:
    one, two = (S3Objects(replace(remote.bucket, prefix=prefix)) for prefix in ("one/", "two/"))
    await one.prepare()
    for store in (one, two):
        await store.put("uploads/a/x", pieces(store._bucket.prefix.encode()))
    assert await content(two, "uploads/a/x") == b"two/"
    assert [found.key async for found in one.list("uploads/")] == ["uploads/a/x"]
    link = await two.link("uploads/a/x", 60, "text/plain", "attachment")
    async with httpx.AsyncClient() as client:
        assert (await client.get(str(link))).content == b"two/"
    for store in (one, two):
        await store.close()


# --- settings


def test_the_usual_variables_are_read_and_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = wired.bucket_of(Settings(objects_url="s3:"))
    assert (bucket.name, bucket.prefix, bucket.region) == ("datadistiller-docs", "", "us-east-1")
    assert (bucket.endpoint, bucket.credentials) == ("https://s3.us-east-1.amazonaws.com", None)
    for name, value in {"ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "s", "SESSION_TOKEN": "t", "REGION": "eu-west-1",
                        "ENDPOINT_URL": "http://minio:9000/"}.items():  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    bucket = wired.bucket_of(Settings(objects_url="s3://mine/deep/er/"))
    assert (bucket.name, bucket.prefix, bucket.region) == ("mine", "deep/er/", "eu-west-1")
    assert (bucket.endpoint, bucket.link_endpoint) == ("http://minio:9000", "http://minio:9000")
    assert bucket.credentials == signature.Credentials("me", "s", "t")
    ours = {"s3_access_key": "us", "s3_secret_key": "x", "s3_endpoint": "https://s3.example", "s3_region": "moon"}
    bucket = wired.bucket_of(Settings(objects_url="s3:", s3_public_endpoint="https://files.example", **ours))  # type: ignore[arg-type]
    assert (bucket.endpoint, bucket.link_endpoint) == ("https://s3.example", "https://files.example")
    assert (bucket.credentials, bucket.region) == (signature.Credentials("us", "x"), "moon")
    assert "'x'" not in repr(bucket)


@pytest.mark.parametrize(
    "wrong",
    [
        {"s3_access_key": "me"},
        {"s3_secret_key": "hunter2"},
        {"presigned_seconds": 60},
        {"s3_endpoint": "minio:9000"},
        {"s3_endpoint": "http://me:hunter2@minio:9000"},
        {"s3_public_endpoint": "https://files.example/path"},
    ],
    ids=lambda wrong: "+".join(wrong),
)
def test_settings_that_do_not_fit_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(errors.SetupError) as refused:
        wired.bucket_of(Settings(objects_url="s3:", **wrong))  # type: ignore[arg-type]
    assert "hunter2" not in f"{refused.value.message} {refused.value.hint}"


async def test_http_is_spoken_only_where_the_address_says_so(remote: Remote) -> None:
    store = S3Objects(replace(remote.bucket, endpoint=remote.bucket.endpoint.replace("http:", "https:"), seconds=1))
    with pytest.raises(errors.Unavailable):
        await store.prepare()
    await store.close()


# --- links


def test_the_signature_is_the_one_of_the_documentation() -> None:
    """AWS, "Authenticating Requests: Using Query Parameters": its example."""
    key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    url = signature.presigned(
        "GET", "https://examplebucket.s3.amazonaws.com", "/test.txt", {},
        signature.Credentials("AKIAIOSFODNN7EXAMPLE", key), region="us-east-1", seconds=86400,
        now=datetime(2013, 5, 24, tzinfo=UTC),
    )  # fmt: skip
    assert url.endswith("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


async def test_a_link_gives_the_bytes_as_a_download(store: S3Objects) -> None:
    name = 'Bericht "größer" + 100 % <b>&\\;.html'
    key = f"uploads/{uuid.uuid4()}/Bericht größer + & x.html"
    await store.put(key, pieces(b"<script>alert(1)</script>"))
    link = await store.link(key, 60, "text/html", disposition(name))
    async with httpx.AsyncClient() as client:
        answer = await client.get(str(link))
        assert (answer.status_code, answer.text) == (200, "<script>alert(1)</script>")
        assert answer.headers["content-type"] == "text/html"
        assert answer.headers["content-disposition"] == disposition(name)
        part = await client.get(str(link), headers={"Range": "bytes=1-6"})
        assert (part.status_code, part.text) == (206, "script")
        altered = str(link).replace("attachment", "inline")
        assert altered != link
        assert (await client.get(altered)).status_code == 403
        assert (await client.get(str(link).split("?")[0])).status_code == 403


async def test_a_link_ends(store: S3Objects) -> None:
    await store.put("uploads/a/x", pieces(b"1"))
    link = await store.link("uploads/a/x", 1, "text/plain", "attachment")
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        while True:
            if (await client.get(str(link))).status_code == 403:
                return
            await asyncio.sleep(0.1)


# --- unfinished uploads


async def test_what_a_killed_process_left_is_given_up_when_it_is_old(store: S3Objects, remote: Remote) -> None:
    await leave_unfinished(remote, "uploads/a/x")
    await leave_unfinished(remote, "elsewhere/x")
    assert await asyncio.to_thread(remote.unfinished) == ["elsewhere/x", "uploads/a/x"]
    assert await store.abort_unfinished(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert await store.abort_unfinished(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert await asyncio.to_thread(remote.unfinished) == ["elsewhere/x"]
    assert await store.abort_unfinished(datetime.now(UTC) + timedelta(hours=1)) == 0


async def leave_unfinished(remote: Remote, key: str) -> None:
    """As a kill leaves it: obstore does not abort an upload that it is dropped in the middle of."""
    begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * s3.PART_BYTES
        yield b"x" * s3.PART_BYTES
        begun.set()
        await asyncio.sleep(3600)

    raw: obstore.store.ObjectStore = s3._opened(remote.bucket)
    task = asyncio.ensure_future(raw.put_async(key, body(), use_multipart=True, chunk_size=s3.PART_BYTES))
    await begun.wait()
    async with asyncio.timeout(30):
        while True:
            if key in await asyncio.to_thread(remote.unfinished):
                break
            await asyncio.sleep(0.05)
    task.cancel()


# --- memory

_UPLOAD = """
import asyncio, resource, sys
from datadistiller.objects.s3 import S3Objects
from tests.contracts.objects_kit import bucket_at

async def body(size):
    for _ in range(size // 65536):
        yield bytes(65536)

async def main():
    store = S3Objects(bucket_at(sys.argv[1]))
    await store.prepare()
    await store.put("uploads/a/small", body(12_000_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert await store.put("uploads/a/x", body(100 << 20)) == 100 << 20
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""


def test_the_memory_of_an_upload_does_not_grow_with_it(minio: MinioServer) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    argv = [sys.executable, "-c", _UPLOAD, minio.url]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 15_000  # KiB more than a small one took; 100 MiB went through
