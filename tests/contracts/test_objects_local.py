"""What only a folder does: it syncs, cleans up after itself, can be full, and can be gone."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datadistiller import errors, objects
from datadistiller.objects.local import LocalObjects
from tests.contracts.objects_kit import pieces


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "obj ects"


@pytest.fixture
async def store(root: Path) -> AsyncIterator[LocalObjects]:
    opened = LocalObjects(root)
    yield opened
    await opened.close()


def everything(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


async def test_file_and_folders_are_synced_before_put_returns(
    store: LocalObjects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def record(handle: int) -> None:  # a spy on the system call: nothing else shows that it was made
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real(handle)

    monkeypatch.setattr(os, "fsync", record)
    await store.put("uploads/a/x", pieces(b"1"))
    assert ".incoming-" in synced[0]
    assert synced[1:] == [str(root / "uploads/a"), str(root / "uploads"), str(root)]


async def test_no_empty_folder_stays(store: LocalObjects, root: Path) -> None:
    async def cut() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise OSError(errno.ECONNRESET, "the client is gone")

    with pytest.raises(OSError, match="the client is gone"):
        await store.put("uploads/a/x", cut())
    await store.put("uploads/b/x", pieces(b"1"))
    await store.delete("uploads/b/x")
    await store.put("uploads/c/x", pieces(b"1"))
    await store.delete_prefix("uploads/c/")
    assert everything(root) == ["uploads"]


async def test_listing_shows_leftovers_too(store: LocalObjects, root: Path) -> None:
    await store.put("uploads/b/y", pieces(b"123"))
    (root / "uploads/b/.incoming-1").write_bytes(b"left by a kill -9")
    found = {entry.key: entry.size async for entry in store.list("uploads/")}
    assert found == {"uploads/b/y": 3, "uploads/b/.incoming-1": 17}


async def test_a_full_disk_is_a_capacity_error(
    store: LocalObjects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:  # a disk cannot be filled in a test without harm to others
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(errors.CapacityError, match="full") as caught:
        await store.put("uploads/a/x", pieces(b"1"))
    monkeypatch.undo()
    assert caught.value.retry_after > 0
    assert everything(root) == ["uploads"]


def put_a_file_where_it_was(root: Path) -> None:
    root.rmdir()
    root.write_text("no folder")


async def test_a_store_that_is_gone_is_unavailable(store: LocalObjects, root: Path) -> None:
    put_a_file_where_it_was(root)
    with pytest.raises(errors.Unavailable) as caught:
        await store.put("uploads/a/x", pieces(b"1"))
    assert str(root) not in caught.value.message
    with pytest.raises(errors.Unavailable):
        await store.check()


async def test_free_space_is_known(store: LocalObjects) -> None:
    assert (await store.free_bytes() or 0) > 0


async def test_a_folder_has_no_links(store: LocalObjects) -> None:
    port: objects.ObjectStore = store
    assert await port.link("uploads/a/x", 60, "text/plain", "attachment") is None
