"""What the ingest stage does with the files that come out of a document, on a folder of objects."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datadistiller import errors, model
from datadistiller.objects.local import LocalObjects
from datadistiller.stages.attachments import Intake, IntakeLimits
from tests.unit.test_parsing_ingest import JOB

DAMAGED = errors.DamagedDocument().problem()


class Family:
    """A collection that has the bytes ``there`` already."""

    def __init__(self, there: bytes = b"") -> None:
        self.there = hashlib.sha256(there).hexdigest()

    async def spent(self, job: model.Job) -> tuple[int, int]:
        return 0, 0

    async def known(self, collection: str, sha256: str) -> bool:
        return collection == JOB.collection and sha256 == self.there


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalObjects]:
    made = LocalObjects(tmp_path)
    yield made
    await made.close()


def intake(store: LocalObjects, job: model.Job = JOB, there: bytes = b"", **limits: int) -> Intake:
    """Of one reading."""
    most = IntakeLimits(**{"members": 10, "bytes": 10_000_000, "nesting": 3} | limits)
    return Intake(store, Family(there), job, (0, 0), most)  # type: ignore[arg-type]


async def give(taking: Intake, path: str, *pieces: bytes, problem: model.Problem | None = None) -> None:
    """What the sandbox does with one file."""
    await taking.begin(path, "text/plain")
    for piece in pieces:
        await taking.write(piece)
    await taking.end(problem)


async def objects_of(store: LocalObjects) -> dict[str, int]:
    """Key -> size of all that is stored."""
    return {found.key: found.size async for found in store.list("uploads/")}


async def test_each_content_is_stored_once(store: LocalObjects) -> None:
    taking = intake(store, there=b"known")
    large = [bytes([n]) * 300_000 for n in range(5)]  # more than is kept in memory
    await give(taking, "a/large.txt", *large)
    await give(taking, "again.txt", b"".join(large))
    await give(taking, "known.txt", b"known")
    await give(taking, "broken.txt", b"half", problem=DAMAGED)
    await taking.finish()
    first, again, known, broken = taking.found
    assert first.job_id is not None and first.object_key == f"uploads/{first.job_id}/large.txt"
    assert again.job_id is None and again.sha256 == first.sha256
    assert known.job_id is None and known.sha256 and not known.missed
    assert (broken.problem, broken.missed, broken.sha256) == (DAMAGED, True, "")
    assert await objects_of(store) == {first.object_key: 1_500_000}
    assert b"".join([piece async for piece in store.get(first.object_key)]) == b"".join(large)
    await taking.discard()
    assert await objects_of(store) == {} and not taking.found


async def test_what_is_rewound_leaves_nothing(store: LocalObjects) -> None:
    taking = intake(store)
    await give(taking, "a.txt", b"a")
    taking.keep()
    await give(taking, "b.txt", b"b")
    await taking.begin("c.txt", "text/plain")
    await taking.write(b"c")
    await taking.rewind()
    assert [member.path for member in taking.found] == ["a.txt"]
    assert list(await objects_of(store)) == [taking.found[0].object_key]
    await give(taking, "b.txt", b"b")
    await taking.finish()
    assert len(await objects_of(store)) == 2, "it may come again"


async def test_many_files_are_all_safe_at_the_end(store: LocalObjects) -> None:
    taking = intake(store, members=100)
    for n in range(50):
        await give(taking, f"{n}.txt", b"%d" % n)
    await taking.finish()
    assert await objects_of(store) == {m.object_key: m.size for m in taking.found} and len(taking.found) == 50


async def test_a_store_that_fails_is_heard_of_before_the_end(store: LocalObjects, tmp_path: Path) -> None:
    (tmp_path / "uploads").touch()  # no folder can be made there
    taking = intake(store)
    for n in range(3):
        await give(taking, f"{n}.txt", b"%d" % n)
    with pytest.raises(errors.Unavailable):
        await taking.finish()
    await taking.discard()
    (tmp_path / "uploads").unlink()
    assert await objects_of(store) == {} and not taking.found


async def test_a_file_that_contains_itself_is_not_taken_in(store: LocalObjects) -> None:
    taking = intake(store, dataclasses.replace(JOB, sha256=hashlib.sha256(b"droste").hexdigest()))
    await give(taking, "droste.zip", b"droste")
    assert taking.found[0].problem is not None and not taking.found[0].missed
    assert await objects_of(store) == {}


async def test_a_disk_that_is_nearly_full_stops_the_reading(store: LocalObjects) -> None:
    taking = intake(store, free_bytes=1 << 62)
    with pytest.raises(errors.CapacityError, match="nearly full"):
        await give(taking, "a.txt", b"a")
    await taking.discard()
    assert await objects_of(store) == {}


async def test_what_lies_too_deep_is_refused(store: LocalObjects) -> None:
    taking = intake(store, dataclasses.replace(JOB, depth=3))
    assert taking.most_members == 0 and intake(store, dataclasses.replace(JOB, depth=2)).most_members == 10
    taking.refuse("a.txt", 1, errors.LimitExceeded("Too many.").problem())
    assert taking.found[0].problem is not None and "MAX_NESTING" in taking.found[0].problem.message
