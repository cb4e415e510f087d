"""The contract of the object store, on each adapter: a folder, and a bucket of a real MinIO."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from datadistiller import errors, objects
from tests.contracts.objects_kit import Local, Remote, bucket_at, content, pieces

MANY = 12_000_000  # bytes: parts, on S3


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Local | Remote:
    if request.param == "file":
        return Local(tmp_path / "obj ects")
    return Remote(bucket_at(request.getfixturevalue("minio").url))


@pytest.fixture
async def store(place: Local | Remote) -> AsyncIterator[objects.ObjectStore]:
    async with place.opened() as opened:
        yield opened


@pytest.mark.parametrize("size", [3_000_000, MANY])
async def test_what_is_put_is_got(store: objects.ObjectStore, size: int) -> None:
    body = os.urandom(size)
    key = objects.object_key(uuid4(), "Bericht größer 📄.pdf")
    assert await store.put(key, pieces(body[:10], body[10:1_500_000], body[1_500_000:])) == size
    assert await store.size(key) == size
    assert await content(store, key) == body
    assert await content(store, key, 5, 1_000_005) == body[5:1_000_005]
    assert await content(store, key, size - 10) == body[-10:]
    assert [(found.key, found.size) async for found in store.list("uploads/")] == [(key, size)]


async def test_an_object_can_be_empty_and_is_replaced_whole(store: objects.ObjectStore) -> None:
    assert await store.put("uploads/a/x", pieces()) == 0
    assert await content(store, "uploads/a/x") == b""
    await store.put("uploads/a/x", pieces(b"new"))
    assert await content(store, "uploads/a/x") == b"new"


@pytest.mark.parametrize("size", [5, MANY])
async def test_local_path_gives_the_bytes(store: objects.ObjectStore, size: int) -> None:
    body = os.urandom(size)
    await store.put("uploads/a/x.txt", pieces(body))
    async with store.local_path("uploads/a/x.txt") as path:
        assert path.read_bytes() == body
        assert path.suffix == ".txt"


@pytest.mark.parametrize("before", [2_000_000, MANY], ids=["early", "late"])
async def test_a_failing_source_leaves_nothing_and_its_error_passes(
    store: objects.ObjectStore, place: Local | Remote, before: int
) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"x" * before
        raise OSError(errno.ECONNRESET, "the client is gone")

    with pytest.raises(OSError, match="the client is gone"):
        await store.put("uploads/a/x", cut())
    assert await place.remains() == []


async def test_an_upload_that_is_too_large_leaves_nothing(store: objects.ObjectStore, place: Local | Remote) -> None:
    async def growing() -> AsyncIterator[bytes]:
        for _ in range(MANY // 1_000_000):
            yield b"x" * 1_000_000
        raise errors.FileTooLarge("too large")

    with pytest.raises(errors.FileTooLarge, match="too large"):
        await store.put("uploads/a/x", growing())
    assert await place.remains() == []


@pytest.mark.parametrize("waiting", [False, True], ids=["while it sends", "while it waits for more"])
async def test_a_cancelled_put_leaves_nothing(store: objects.ObjectStore, place: Local | Remote, waiting: bool) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        sent = 0
        while True:
            yield b"x" * 1_000_000
            sent += 1_000_000
            if sent > MANY:
                begun.set()
                await asyncio.sleep(3600 if waiting else 0)

    task = asyncio.create_task(store.put("uploads/a/x", endless()))
    await begun.wait()
    assert await place.remains() != []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await place.remains() == []


async def test_puts_of_one_key_at_once_leave_one_of_them_whole(
    store: objects.ObjectStore, place: Local | Remote
) -> None:
    bodies = [bytes([n]) * 6_000_000 for n in range(6)]
    await asyncio.gather(*(store.put("uploads/a/x", pieces(body[:700_000], body[700_000:])) for body in bodies))
    assert await content(store, "uploads/a/x") in bodies
    assert await place.remains() == ["uploads/a/x"]


async def test_a_listing_has_what_is_below_a_folder(store: objects.ObjectStore) -> None:
    await store.put("uploads/a/x", pieces(b"12"))
    await store.put("uploads/b/y", pieces(b"123"))
    await store.put("other/z", pieces(b"1"))
    found = [entry async for entry in store.list("uploads/")]
    assert {entry.key: entry.size for entry in found} == {"uploads/a/x": 2, "uploads/b/y": 3}
    assert all(abs(datetime.now(UTC) - entry.modified) < timedelta(minutes=5) for entry in found)
    assert [entry.key async for entry in store.list("uploads/none/")] == []


async def test_delete_prefix_removes_that_folder_only(store: objects.ObjectStore, place: Local | Remote) -> None:
    for key in ("uploads/a/x", "uploads/a/y", "uploads/ab/x"):
        await store.put(key, pieces(b"1"))
    assert await store.delete_prefix("uploads/a/") == 2
    assert await store.delete_prefix("uploads/a/") == 0
    assert await place.remains() == ["uploads/ab/x"]


async def test_delete_of_what_is_not_there_succeeds(store: objects.ObjectStore, place: Local | Remote) -> None:
    await store.put("uploads/a/x", pieces(b"1"))
    await store.delete("uploads/a/x")
    await store.delete("uploads/a/x")
    assert await place.remains() == []


async def test_a_lost_object_is_replaced_and_one_that_is_there_is_not(
    store: objects.ObjectStore, place: Local | Remote
) -> None:
    await store.put("uploads/a/x", pieces(b"first"))
    await store.put("uploads/b/x", pieces(b"again"))
    await store.replace_missing("uploads/a/x", spare="uploads/b/x")
    assert await content(store, "uploads/a/x") == b"first"
    await store.put("uploads/c/x", pieces(b"third"))
    await store.replace_missing("uploads/lost/x", spare="uploads/c/x")
    assert await content(store, "uploads/lost/x") == b"third"
    assert await place.remains() == ["uploads/a/x", "uploads/lost/x"]


async def test_an_absent_object_is_missing(store: objects.ObjectStore) -> None:
    with pytest.raises(errors.ObjectMissing):
        await store.size("uploads/a/x")
    with pytest.raises(errors.ObjectMissing):
        await content(store, "uploads/a/x")
    with pytest.raises(errors.ObjectMissing):
        async with store.local_path("uploads/a/x"):
            pass


@pytest.mark.parametrize("key", ["../x", "uploads/../../x", "/etc/passwd", "uploads//x", "", "uploads/./x", "a\0b"])
async def test_a_key_cannot_leave_the_store(store: objects.ObjectStore, key: str) -> None:
    with pytest.raises(errors.BrokenInvariant):
        await store.put(key, pieces(b"1"))
    with pytest.raises(errors.BrokenInvariant):
        await content(store, key)


async def test_a_store_that_works_passes_its_check(store: objects.ObjectStore) -> None:
    await store.check()
    assert await store.abort_unfinished(datetime.now(UTC)) == 0
