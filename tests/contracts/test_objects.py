"""The contract of the object store, on the adapter that runs everywhere: file:// in a temporary folder."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import errors, objects
from datadistiller.objects import names


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[objects.ObjectStore]:
    opened = objects.ObjectStore((tmp_path / "obj ects").as_uri())
    yield opened
    await opened.close()


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(store: objects.ObjectStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.get(key, start, end)])


def everything(tmp_path: Path) -> list[str]:
    root = tmp_path / "obj ects"
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


async def test_what_is_put_is_got(store: objects.ObjectStore) -> None:
    body = os.urandom(3_000_000)
    key = objects.object_key(uuid4(), "Bericht größer 📄.pdf")
    size = await store.put(key, pieces(body[:10], body[10:1_500_000], body[1_500_000:]))
    assert size == await store.size(key) == len(body)
    assert await content(store, key) == body
    assert await content(store, key, 5, 1_000_005) == body[5:1_000_005]
    assert await content(store, key, 2_999_990) == body[-10:]


async def test_an_object_can_be_empty_and_is_replaced_whole(store: objects.ObjectStore) -> None:
    assert await store.put("uploads/a/x", pieces()) == 0
    assert await content(store, "uploads/a/x") == b""
    await store.put("uploads/a/x", pieces(b"new"))
    assert await content(store, "uploads/a/x") == b"new"


async def test_local_path_gives_the_bytes(store: objects.ObjectStore) -> None:
    await store.put("uploads/a/x.txt", pieces(b"hello"))
    async with store.local_path("uploads/a/x.txt") as path:
        assert path.read_bytes() == b"hello"
        assert path.suffix == ".txt"


async def test_file_and_folders_are_synced_before_put_returns(
    store: objects.ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def record(handle: int) -> None:  # a spy on the system call: nothing else shows that it was made
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    monkeypatch.setattr(os, "fsync", record)
    await store.put("uploads/a/x", pieces(b"1"))
    root = tmp_path / "obj ects"
    assert ".incoming-" in synced[0]
    assert synced[1:] == [str(root / "uploads/a"), str(root / "uploads"), str(root)]


async def test_a_failing_source_leaves_nothing_and_its_error_passes(store: objects.ObjectStore, tmp_path: Path) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise OSError(errno.ECONNRESET, "the client is gone")

    with pytest.raises(OSError, match="the client is gone"):
        await store.put("uploads/a/x", cut())
    assert everything(tmp_path) == ["uploads"]


async def test_a_cancelled_put_leaves_nothing(store: objects.ObjectStore, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 400_000
            if any("incoming" in name for name in everything(tmp_path)):
                begun.set()
            await asyncio.sleep(0)

    task = asyncio.create_task(store.put("uploads/a/x", endless()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert everything(tmp_path) == ["uploads"]


async def test_puts_of_one_key_at_once_leave_one_of_them_whole(store: objects.ObjectStore) -> None:
    bodies = [bytes([n]) * 1_500_000 for n in range(6)]
    await asyncio.gather(*(store.put("uploads/a/x", pieces(body[:700_000], body[700_000:])) for body in bodies))
    assert await content(store, "uploads/a/x") in bodies
    assert [found.key async for found in store.list("uploads/")] == ["uploads/a/x"]


async def test_listing_shows_leftovers_too(store: objects.ObjectStore, tmp_path: Path) -> None:
    await store.put("uploads/a/x", pieces(b"12"))
    await store.put("uploads/b/y", pieces(b"123"))
    (tmp_path / "obj ects/uploads/b/.incoming-1").write_bytes(b"left by a kill -9")
    found = {entry.key: entry.size async for entry in store.list("uploads/")}
    assert found == {"uploads/a/x": 2, "uploads/b/y": 3, "uploads/b/.incoming-1": 17}
    assert all([entry.modified.tzinfo is not None async for entry in store.list("uploads/")])
    assert [entry.key async for entry in store.list("uploads/none/")] == []


async def test_delete_prefix_removes_that_folder_only(store: objects.ObjectStore, tmp_path: Path) -> None:
    await store.put("uploads/a/x", pieces(b"1"))
    await store.put("uploads/a/y", pieces(b"1"))
    await store.put("uploads/ab/x", pieces(b"1"))
    assert await store.delete_prefix("uploads/a/") == 2
    assert await store.delete_prefix("uploads/a/") == 0
    assert everything(tmp_path) == ["uploads", "uploads/ab", "uploads/ab/x"]


async def test_delete_of_what_is_not_there_succeeds(store: objects.ObjectStore, tmp_path: Path) -> None:
    await store.put("uploads/a/x", pieces(b"1"))
    await store.delete("uploads/a/x")
    await store.delete("uploads/a/x")
    assert everything(tmp_path) == ["uploads"]


async def test_a_lost_object_is_replaced_and_one_that_is_there_is_not(
    store: objects.ObjectStore, tmp_path: Path
) -> None:
    await store.put("uploads/a/x", pieces(b"first"))
    await store.put("uploads/b/x", pieces(b"again"))
    await store.replace_missing("uploads/a/x", spare="uploads/b/x")
    assert await content(store, "uploads/a/x") == b"first"
    await store.put("uploads/c/x", pieces(b"third"))
    await store.replace_missing("uploads/lost/x", spare="uploads/c/x")
    assert await content(store, "uploads/lost/x") == b"third"
    assert [name for name in everything(tmp_path) if name.endswith("x")] == ["uploads/a/x", "uploads/lost/x"]


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


async def test_a_full_disk_is_a_capacity_error(
    store: objects.ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:  # a disk cannot be filled in a test without harm to others
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(errors.CapacityError, match="full") as caught:
        await store.put("uploads/a/x", pieces(b"1"))
    monkeypatch.undo()
    assert caught.value.retry_after > 0
    assert everything(tmp_path) == ["uploads"]


async def test_a_store_that_is_gone_is_unavailable(store: objects.ObjectStore, tmp_path: Path) -> None:
    await store.check()
    (tmp_path / "obj ects").rmdir()
    (tmp_path / "obj ects").write_text("a file where the folder was")
    with pytest.raises(errors.Unavailable) as caught:
        await store.put("uploads/a/x", pieces(b"1"))
    assert str(tmp_path) not in caught.value.message
    with pytest.raises(errors.Unavailable):
        await store.check()


async def test_free_space_is_known(store: objects.ObjectStore) -> None:
    assert (await store.free_bytes() or 0) > 0


def test_unknown_urls_are_setup_errors() -> None:
    with pytest.raises(errors.SetupError, match="ftp"):
        objects.ObjectStore("ftp://user:secret@host/x")


def test_an_s3_store_opens_by_its_url() -> None:
    assert objects.ObjectStore("s3://datadistiller-docs").url == "s3://datadistiller-docs"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\Über uns.docx", "Über uns.docx"),
        ('a"b<c>|d?.txt', "a_b_c_d_.txt"),
        ("données 📈 2024.csv", "données _ 2024.csv"),
        ("a\x00b\r\nc.txt", "a_b_c.txt"),
        ("", "document"),
        ("..", "document"),
        (".pdf", "pdf"),
        ("CON.txt", "_CON.txt"),
        ("nul", "_nul"),
        ("trailing. ", "trailing"),
        ("x#1", "x_1"),
        ("日本語.txt", "日本語.txt"),
        (".incoming-1", "incoming-1"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert objects.safe_filename(name) == safe


def test_long_names_keep_their_extension() -> None:
    safe = objects.safe_filename("é" * 300 + ".pdf")
    assert safe.endswith("é.pdf")
    assert 190 < len(safe.encode()) <= names.MAX_NAME_BYTES


@given(st.text(max_size=400))
def test_any_name_becomes_a_usable_one(name: str) -> None:
    safe = objects.safe_filename(name)
    assert 0 < len(safe.encode()) <= names.MAX_NAME_BYTES + 1
    assert "/" not in safe and "\\" not in safe and "\0" not in safe and not safe.startswith(".")
    assert objects.safe_filename(safe) == safe
