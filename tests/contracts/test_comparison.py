"""The complete comparison of database, index and object store: what differs is named, what is on its way is not."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from datadistiller import errors, indexing, objects
from datadistiller.indexing.local import LocalIndex
from datadistiller.runtime import comparison
from datadistiller.runtime.comparison import Comparison
from datadistiller.runtime.doctor import Finding, Level
from datadistiller.store.audit import Audit
from tests.contracts.objects_kit import Local, Remote, bucket_at, pieces
from tests.contracts.store_kit import DIM, Kit


class System:
    """A database, an index and an object store that agree, until a test breaks one."""

    def __init__(self, kit: Kit, index: indexing.SearchIndex, store: objects.ObjectStore) -> None:
        self.kit, self.index, self.store = kit, index, store

    async def add(self, texts: list[str], body: bytes = b"0123456789") -> tuple[str, list[int]]:
        """A document everywhere; its key and its chunk numbers."""
        job = await self.kit.searchable(texts)
        await self.store.put(job.object_key, pieces(body))
        numbers = await self.kit.numbers(job.job_id)
        await self.bring(numbers)
        await self.kit.run("DELETE FROM chunk_changes")  # as the follower does when it has read them
        return job.object_key, numbers

    async def bring(self, numbers: list[int]) -> None:
        """What the follower does with chunks."""
        entries, gone = await self.kit.changes.read(numbers, self.kit.model_id)
        await self.index.add(entries)
        await self.index.remove(gone)
        await self.index.commit()

    async def compare(self, patience: float = 0, grace: float = 0, **parts: Any) -> list[Finding]:
        made = {"audit": Audit(self.kit.db), "store": self.store, "index": self.index, "sweep_grace_seconds": grace}
        return await Comparison(**{**made, "patience": patience, **parts}).compare()  # type: ignore[arg-type]


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Local | Remote:
    if request.param == "file":
        return Local(tmp_path / "objects")
    return Remote(bucket_at(request.getfixturevalue("minio").url))


@pytest.fixture
async def store(place: Local | Remote) -> AsyncIterator[objects.ObjectStore]:
    async with place.opened() as opened:
        yield opened


@pytest.fixture
async def system(kit: Kit, store: objects.ObjectStore, tmp_path: Path) -> AsyncIterator[System]:
    index = LocalIndex(tmp_path / "index", DIM, "test-model")
    yield System(kit, index, store)
    await index.close()


def said(found: list[Finding]) -> list[str]:
    """The sentences of errors; there must be nothing else, and each must say what to do."""
    assert all(finding.level is Level.ERROR and finding.hint for finding in found), found
    return [finding.sentence for finding in found]


pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)
only_local = pytest.mark.parametrize("place", ["file"], indirect=True)


async def test_what_agrees_is_counted(system: System) -> None:
    await system.add(["one", "two"])
    await system.add(["three"])
    await system.kit.accept("not in the index yet", object_key=(await orphan(system)))
    [finding] = await system.compare()
    assert (finding.level, finding.sentence) == (
        Level.OK, "Database, object store and index agree on all 3 documents and 3 chunks.",
    )  # fmt: skip


async def orphan(system: System) -> str:
    key = f"uploads/{uuid4()}/x.txt"
    await system.store.put(key, pieces(b"0123456789"))
    return key


# --- the index


@only_local
async def test_a_chunk_that_the_index_has_lost(system: System) -> None:
    _, numbers = await system.add(["one", "two", "three"])
    await system.index.remove(numbers[1:])
    await system.index.commit()
    assert said(await system.compare()) == [
        f"2 chunks are missing in the index, for example {numbers[1]}, {numbers[2]}."
    ]


@only_local
async def test_a_chunk_that_does_not_belong_in_the_index(system: System) -> None:
    await system.add(["one"])
    stranger = indexing.Entry(999, uuid4(), 1, np.array([1, 0, 0, 0], np.float16), "", "stranger")
    await system.index.add([stranger])
    await system.index.commit()
    sentence = "1 chunks are in the index that do not belong there, for example 999."
    assert said(await system.compare()) == [sentence]


@only_local
async def test_a_number_that_stands_for_another_chunk(system: System) -> None:
    _, [number] = await system.add(["one"])
    await system.index.add([indexing.Entry(number, uuid4(), 1, np.array([1, 0, 0, 0], np.float16), "", "other")])
    await system.index.commit()
    assert said(await system.compare()) == [f"1 chunks are missing in the index, for example {number}."]


class Doubled:
    """An index in which something is twice, as it then looks from outside: no adapter can be brought to it."""

    def __init__(self, index: indexing.SearchIndex) -> None:
        self._index = index
        self.contents = index.contents

    async def count(self) -> int:
        return await self._index.count() + 1


@only_local
async def test_a_chunk_that_is_in_the_index_twice(system: System) -> None:
    await system.add(["one"])
    [sentence] = said(await system.compare(index=Doubled(system.index)))
    assert sentence.startswith("The index counts 1 chunks more than it lists")


@only_local
async def test_what_the_change_feed_announces_is_on_its_way(system: System) -> None:
    _, numbers = await system.add(["one", "two"])
    job = await system.kit.searchable(["not in the index yet"])
    await system.store.put(job.object_key, pieces(b"0123456789"))
    [finding] = await system.compare()
    assert finding.level is Level.OK
    await system.kit.run("DELETE FROM chunk_changes WHERE NOT chunk_nos && %s", numbers)
    assert len(said(await system.compare())) == 1


@only_local
async def test_a_difference_that_passes_is_none(system: System) -> None:
    _, numbers = await system.add(["one", "two"])
    await system.index.remove(numbers)
    await system.index.commit()
    comparing = asyncio.create_task(system.compare(patience=60))
    await asyncio.sleep(0.2)
    await system.bring(numbers)
    [finding] = await comparing
    assert finding.level is Level.OK


@only_local
@pytest.mark.parametrize("seed", range(3))
async def test_pages_are_compared_without_a_gap(system: System, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(comparison, "PAGE", 3)  # so that there are several
    chance = random.Random(seed)
    _, numbers = await system.add([f"chunk {n}" for n in range(20)])
    lost = sorted(chance.sample(numbers, chance.choice([0, 1, 7, 20])))
    strange = sorted(chance.sample(range(1000, 1040), chance.choice([0, 1, 9])))
    await system.index.remove(lost)
    unit = np.array([1, 0, 0, 0], np.float16)
    await system.index.add([indexing.Entry(number, uuid4(), 1, unit, "", "stranger") for number in strange])
    await system.index.commit()
    looked = await Comparison(Audit(system.kit.db), system.store, system.index, 0)._index_once()
    assert looked == (set(lost), set(strange), 0)


# --- the object store


async def test_a_file_that_is_lost(system: System) -> None:
    key, _ = await system.add(["one"])
    await system.add(["two"])
    await system.store.delete(key)
    assert said(await system.compare()) == [f"1 documents have lost their file, for example {key}."]


async def test_a_file_that_is_not_what_was_uploaded(system: System) -> None:
    key, _ = await system.add(["one"], body=b"cut")
    sentence = f"1 files have another size than when they were uploaded, for example {key}."
    assert said(await system.compare()) == [sentence]


async def test_a_file_of_nobody(system: System) -> None:
    await system.add(["one"])
    left = await orphan(system)
    assert said(await system.compare()) == [f"1 files belong to no document, for example {left}."]
    [finding] = await system.compare(grace=1000)
    assert finding.level is Level.OK


@only_local
async def test_the_file_of_a_deleted_document_waits_for_its_removal(system: System, tmp_path: Path) -> None:
    key, numbers = await system.add(["one"])
    os.utime(tmp_path / "objects" / key, (1, 1))
    job = key.split("/")[1]
    await system.kit.jobs.delete(job)  # type: ignore[arg-type]
    await system.bring(numbers)
    [finding] = await system.compare()
    assert finding.level is Level.OK


@only_local
async def test_many_differences_are_counted_to_a_thousand(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MOST", 3)  # so that few are many
    for n in range(5):
        await system.kit.accept(f"lost {n}")
    [sentence] = said(await system.compare())
    assert sentence.startswith("At least 3 documents have lost their file")


# --- the rest


@only_local
async def test_a_rule_of_the_database_that_is_broken(system: System) -> None:
    key, _ = await system.add(["one", "two"])
    await system.kit.run("UPDATE document_jobs SET processed_chunks = 1")
    job = key.split("/")[1]
    assert said(await system.compare()) == [
        f"1 finished documents have other numbers of chunks than they say, for example {job}."
    ]


class Away:
    """A part that does not answer."""

    def __getattr__(self, name: str) -> Any:
        raise errors.Unavailable("It is away.")


@only_local
async def test_a_part_that_is_away_does_not_hide_the_others(system: System) -> None:
    key, _ = await system.add(["one"])
    await system.store.delete(key)
    assert said(await system.compare(index=Away())) == [
        "It could not be compared: It is away.", f"1 documents have lost their file, for example {key}.",
    ]  # fmt: skip
    assert said(await system.compare(store=Away())) == ["It could not be compared: It is away."]
