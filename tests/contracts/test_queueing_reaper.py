"""The reaper and the sweeper on a real database and a real object store."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datadistiller import errors, objects
from datadistiller.messages import CHUNK_TOPIC, REMOVE_TOPIC
from datadistiller.objects.local import LocalObjects
from datadistiller.runtime import reaper
from datadistiller.store.database import Database
from datadistiller.store.inspection import Inspection
from datadistiller.store.jobs import Jobs
from datadistiller.store.messages import Messages
from datadistiller.store.signals import WORK, Notifier, Signals
from datadistiller.store.workers import Workers
from tests import seed
from tests.contracts import store_kit

LIMITS = {CHUNK_TOPIC: seed.LIMITS, REMOVE_TOPIC: seed.LIMITS}


def reaper_of(database: Database) -> reaper.Reaper:
    return reaper.Reaper(Messages(database), Notifier(database), LIMITS, timeout_seconds=60)


async def test_work_of_a_dead_worker_is_free_at_once_and_others_are_told(database: Database, database_url: str) -> None:
    await seed.chunked(database, 2)
    dead, living = uuid.uuid4(), uuid.uuid4()
    for boot in (dead, living):
        await Workers(database).register(boot, "test", "embed", 1)
        assert len(await Messages(database).claim(CHUNK_TOPIC, 1, boot, 60)) == 1
    await Workers(database).remove(dead)
    signals = Signals(database_url)
    with signals.subscribe(WORK, "connected") as connected:
        await signals.start()
        await connected.wait()
    with signals.subscribe(WORK, CHUNK_TOPIC) as told:
        await asyncio.gather(*(reaper_of(database).reap() for _ in range(4)))
        await asyncio.wait_for(told.wait(), 10)
    await signals.close()
    states = [(row["crashes"], row["lease_boot"]) for row in await seed.messages_left(database)]
    assert states == [(1, None), (0, living)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[objects.ObjectStore]:
    opened = LocalObjects(tmp_path)
    yield opened
    await opened.close()


async def put(store: objects.ObjectStore, folder: Path, job_id: uuid.UUID, age_seconds: float) -> str:
    async def body() -> AsyncIterator[bytes]:
        yield b"bytes"

    key = objects.object_key(job_id, "note.txt")
    await store.put(key, body())
    then = (folder / key).stat().st_mtime - age_seconds
    os.utime(folder / key, (then, then))
    return key


async def test_the_sweeper_takes_old_orphans_only(
    database: Database, store: objects.ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaper, "SWEEP_BATCH", 2)  # so that there is more than one
    known = [await put(store, tmp_path, await seed.accepted(database), 1000) for _ in range(3)]
    young = await put(store, tmp_path, uuid.uuid4(), 10)
    for _ in range(3):
        await put(store, tmp_path, uuid.uuid4(), 1000)
    half = tmp_path / "uploads" / str(uuid.uuid4()) / ".incoming-1"
    half.parent.mkdir()
    half.write_bytes(b"cut half-way")
    os.utime(half, (1, 1))
    sweeper = reaper.Sweeper(store, Inspection(database), grace_seconds=100, unfinished_seconds=100)
    before = {found.key async for found in store.list(objects.UPLOADS)}
    await sweeper.sweep()
    assert {found.key async for found in store.list(objects.UPLOADS)} == before
    await asyncio.gather(sweeper.sweep(), sweeper.sweep())
    assert {found.key async for found in store.list(objects.UPLOADS)} == {*known, young}


async def test_an_object_whose_job_comes_late_is_not_swept(
    database: Database, store: objects.ObjectStore, tmp_path: Path
) -> None:
    job_id = uuid.uuid4()
    key = await put(store, tmp_path, job_id, 1000)
    sweeper = reaper.Sweeper(store, Inspection(database), grace_seconds=100, unfinished_seconds=100)
    await sweeper.sweep()
    await Jobs(database).accept(store_kit.new_job(job_id=job_id, object_key=key))
    await sweeper.sweep()
    assert await store.size(key)


async def test_a_deleted_document_is_the_remove_stages_affair(
    database: Database, store: objects.ObjectStore, tmp_path: Path
) -> None:
    job_id = await seed.accepted(database)
    await put(store, tmp_path, job_id, 1000)
    await Jobs(database).delete(job_id)
    sweeper = reaper.Sweeper(store, Inspection(database), grace_seconds=100, unfinished_seconds=100)
    for _ in range(2):
        await sweeper.sweep()
    assert [found.key async for found in store.list(objects.UPLOADS)] == [objects.object_key(job_id, "note.txt")]
    assert [row["topic"] for row in await seed.messages_left(database)] == [REMOVE_TOPIC]


async def test_a_loop_survives_what_its_work_raises() -> None:
    stop = asyncio.Event()
    raised: list[Exception] = [errors.Unavailable(), ValueError("a defect")]

    async def work() -> None:
        if raised:
            raise raised.pop()
        stop.set()

    await asyncio.wait_for(reaper.repeat("test", 0.01, work, stop), 5)
    assert not raised


async def test_a_loop_ends_at_once_when_told() -> None:
    stop = asyncio.Event()
    done = asyncio.Event()

    async def work() -> None:
        done.set()

    running = asyncio.create_task(reaper.repeat("test", 3600, work, stop))
    await done.wait()
    stop.set()
    await asyncio.wait_for(running, 5)
