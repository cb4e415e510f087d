"""The local index inside: sealing, merging, the log, and any sequence of changes against a plain dictionary."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.indexing import Entry
from datadistiller.indexing import local as local_module
from datadistiller.indexing import local_sealing as sealing
from datadistiller.indexing import local_store as local_store_module
from datadistiller.indexing import local_vectors as vectors
from datadistiller.indexing.local import LocalIndex

DIM = 24


def clustered(count: int, seed: int) -> NDArray[np.float16]:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((40, DIM))
    points = centres[random.integers(0, 40, count)] + random.standard_normal((count, DIM))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)


def entries(numbers: Sequence[int], seed: int = 1) -> list[Entry]:
    codes = clustered(len(numbers), seed)
    return [
        Entry(number, UUID(int=seed << 64 | number), number % 100, code, "", f"word{number % 1000} all")
        for number, code in zip(numbers, codes, strict=True)
    ]


def sealed(index: LocalIndex) -> list[int]:
    """Live rows of each sealed segment."""
    return [part.entries for part in index._view.parts if part.sealed]


async def idle(index: LocalIndex, times: int = 1) -> None:
    for _ in range(times):
        await index.commit()
        await index.settle()


def recall(index: LocalIndex, queries: NDArray[np.float32], truth: list[list[int]], found: list[list[int]]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(truth, found, strict=True)]))


async def test_a_sealed_segment_finds_what_a_scan_finds(tmp_path: Path) -> None:
    """With and without a filter, with rows removed after the sealing, and after opening again."""
    index = LocalIndex(tmp_path / "index", DIM, "a", hnsw_threshold=11_000)
    everything = {e.chunk_no: e for e in entries(range(1, 30_001))}
    for at in range(0, 30_000, 10_000):
        await index.add(list(everything.values())[at : at + 10_000])
        await index.commit()
    await index.settle()
    await index.remove(range(1, 2001))
    await index.commit()
    assert sealed(index) and max(sealed(index)) > vectors.EXACT_ROWS
    everything = {number: e for number, e in everything.items() if number > 2000}
    numbers = np.array(list(everything))
    codes = np.stack([e.vector for e in everything.values()]).astype(np.float32)
    queries = clustered(60, 2).astype(np.float32)
    for allowed in (None, np.arange(0, 70), np.arange(0, 3)):
        inside = np.ones(len(numbers), bool) if allowed is None else np.isin(numbers % 100, allowed)
        scores = np.where(inside, queries @ codes.T, -2)
        truth = numbers[np.argsort(-scores, axis=1)[:, :10]].tolist()
        found = [(await index.vector_search(query, 10, allowed)).numbers.tolist() for query in queries]
        assert recall(index, queries, truth, found) >= 0.98
    before = [(await index.vector_search(query, 10)).numbers.tolist() for query in queries]
    await index.close()
    index = LocalIndex(tmp_path / "index", DIM, "a", hnsw_threshold=11_000)
    assert set(await index.contents()) == set(everything)
    assert [(await index.vector_search(query, 10)).numbers.tolist() for query in queries] == before
    await index.close()


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Segments are built once this is set: there is no other way to be sure of the order."""
    go_on, build = threading.Event(), sealing.build

    def wait_and_build(*arguments: Any) -> object:
        go_on.wait(60)
        return build(*arguments)

    monkeypatch.setattr(sealing, "build", wait_and_build)
    return go_on


async def test_changes_during_the_building_are_kept(tmp_path: Path, held_up: threading.Event) -> None:
    index = LocalIndex(tmp_path / "index", DIM, "a", hnsw_threshold=100)
    await index.add(entries(range(1, 301)))
    await index.commit()
    await index.remove(range(1, 51))
    await index.add(entries(range(51, 61), seed=2))
    await index.commit()
    held_up.set()
    await index.settle()
    expected = {e.chunk_no: e.chunk_id for e in [*entries(range(61, 301)), *entries(range(51, 61), seed=2)]}
    assert sealed(index)
    assert await index.contents() == expected
    hits = await index.vector_search(entries([51], seed=1)[0].vector.astype(np.float32), 300)
    assert sorted(hits.numbers.tolist()) == sorted(expected)
    await index.close()
    index = LocalIndex(tmp_path / "index", DIM, "a", hnsw_threshold=100)
    assert await index.contents() == expected
    await index.close()


async def test_blocks_are_not_joined_while_they_are_sealed(
    tmp_path: Path, held_up: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a row would be dead in one segment and live in another, and dead in both once opened again."""
    monkeypatch.setattr(vectors, "BLOCK_ROWS", 40)  # many blocks without many rows
    index = LocalIndex(tmp_path / "index", DIM, "a", hnsw_threshold=400)
    for at in range(0, 1000, 40):
        await index.add(entries(range(at, at + 40)))
        await index.commit()
    held_up.set()
    await index.settle()
    await idle(index, 3)
    assert len(sealed(index)) > 1
    await index.close()
    index = LocalIndex(tmp_path / "index", DIM, "a", hnsw_threshold=400)
    assert len(await index.contents()) == 1000
    await index.close()


async def test_many_small_blocks_become_few(tmp_path: Path) -> None:
    index = LocalIndex(tmp_path / "index", DIM, "a")
    for at in range(0, 17 * vectors.BLOCK_ROWS, vectors.BLOCK_ROWS):
        await index.add(entries(range(at, at + vectors.BLOCK_ROWS)))
        await index.commit()
    assert len(index._view.parts) <= 2 + vectors.JOINED_BLOCKS
    assert await index.count() == 17 * vectors.BLOCK_ROWS
    await index.close()


async def test_worn_segments_are_mended_and_small_ones_merged_when_idle(tmp_path: Path) -> None:
    index = LocalIndex(tmp_path / "index", DIM, "a", hnsw_threshold=100)
    for at in range(0, 1000, 200):
        await index.add(entries(range(at, at + 200)))
        await index.commit()
        await index.settle()
    await idle(index, 3)
    assert len(sealed(index)) < sealing.MERGE_COUNT
    await index.remove(range(500))
    await index.commit()
    await idle(index, 3)
    assert sum(len(part.segment) for part in index._view.parts) < 650, "dead rows stay"
    assert set(await index.contents()) == set(range(500, 1000))
    names = {path.name for path in (tmp_path / "index").iterdir()}
    assert len([name for name in names if name.startswith("segment-")]) == 2 * len(sealed(index)), "files stay"
    await index.close()


async def test_the_log_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_store_module, "LOG_BYTES", 100_000)  # 32 MB would take a minute to fill
    index = LocalIndex(tmp_path / "index", DIM, "a")
    for turn in range(60):
        await index.add(entries(range(1, 101), seed=turn + 1))
        await index.commit()
    assert sum(path.stat().st_size for path in (tmp_path / "index").glob("log-*")) < 120_000
    assert await index.contents() == {e.chunk_no: e.chunk_id for e in entries(range(1, 101), seed=60)}
    await index.close()


@pytest.mark.parametrize(("fingerprint", "dim"), [("b", DIM), ("a", DIM + 1)])
async def test_an_index_of_another_model_is_begun_anew(tmp_path: Path, fingerprint: str, dim: int) -> None:
    index = LocalIndex(tmp_path / "index", DIM, "a")
    await index.add(entries([1]))
    await index.commit()
    await index.close()
    index = LocalIndex(tmp_path / "index", dim, fingerprint)
    assert await index.contents() == {}
    assert (await index.keyword_search("all", 5)).numbers.tolist() == []
    await index.close()


async def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    first, second = (LocalIndex(tmp_path / "index", DIM, "a") for _ in range(2))
    await first.open()
    with pytest.raises(errors.SetupError, match="in use"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    index = LocalIndex(tmp_path / "file" / "index", DIM, "a")
    with pytest.raises(errors.SetupError, match="cannot be written"):
        await index.open()
    await index.close()


async def test_a_vector_of_another_length_is_refused_and_spoils_nothing(tmp_path: Path) -> None:
    index = LocalIndex(tmp_path / "index", DIM, "a")
    await index.add(entries([1]))
    await index.commit()
    wrong = Entry(2, UUID(int=2), 1, np.ones(DIM - 1, dtype=np.float16), "", "")
    await index.add([wrong])
    with pytest.raises(errors.BrokenInvariant, match="chunk 2"):
        await index.commit()
    await index.add(entries([3]))
    await index.commit()
    assert sorted(await index.contents()) == [1, 3]
    await index.close()


async def test_a_failed_write_is_repaired_by_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has the rows, tantivy has not: what a full disk between the two leaves."""
    index = LocalIndex(tmp_path / "index", DIM, "a")
    await index.add(entries([1, 2]))
    await index.commit()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    await index.add(entries([2, 3], seed=2))
    await index.remove([1])
    monkeypatch.setattr(local_store_module.keywords.Keywords, "commit", full)  # a disk cannot be filled here
    with pytest.raises(errors.StoreUnavailable, match="No space left"):
        await index.commit()
    monkeypatch.undo()
    assert (await index.keyword_search("all", 5)).numbers.tolist() == [1, 2], "searches go on"
    assert set(await index.contents()) <= {1, 2}
    await index.add(entries([1, 2], seed=3))
    await index.commit()
    assert await index.contents() == {e.chunk_no: e.chunk_id for e in entries([1, 2], seed=3)}
    await index.close()


async def test_too_many_waiting_searches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "MAX_WAITING", 2)
    index = LocalIndex(tmp_path / "index", DIM, "a")
    await index.add(entries(range(1000)))
    await index.commit()
    searches = [index.keyword_search("all", 100) for _ in range(50)]
    results = await asyncio.gather(*searches, return_exceptions=True)
    assert any(isinstance(result, errors.Overloaded) for result in results)
    assert (await index.keyword_search("all", 1)).numbers.tolist()
    await index.close()


Change = tuple[str, int, int]
changes = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 400), st.integers(1, 120)),
        st.tuples(st.just("remove"), st.integers(0, 400), st.integers(1, 120)),
        st.tuples(st.just("commit"), st.just(0), st.just(0)),
        st.tuples(st.just("settle"), st.just(0), st.just(0)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes)
def test_any_changes_leave_what_a_dictionary_would_hold(
    tmp_path_factory: pytest.TempPathFactory, script: list[Change]
) -> None:
    asyncio.run(follow_script(tmp_path_factory.mktemp("index"), script))


async def follow_script(folder: Path, script: list[Change]) -> None:
    """With blocks of 40 rows, so that sealing and merging happen all the time."""
    index = LocalIndex(folder, DIM, "a", hnsw_threshold=40)
    expected: dict[int, Entry] = {}
    for turn, (what, first, count) in enumerate([*script, ("commit", 0, 0), ("reopen", 0, 0)], 1):
        numbers = range(first, first + count)
        if what == "add":
            new = entries(numbers, seed=turn)
            await index.add(new)
            expected |= {e.chunk_no: e for e in new}
        elif what == "remove":
            await index.remove(numbers)
            expected = {number: e for number, e in expected.items() if number not in numbers}
        elif what == "settle":
            await index.settle()
        else:
            await index.commit()
        if what == "reopen":
            await index.close()
            index = LocalIndex(folder, DIM, "a", hnsw_threshold=40)
    assert await index.contents() == {number: e.chunk_id for number, e in expected.items()}
    assert sorted((await index.keyword_search("all", 1000)).numbers.tolist()) == sorted(expected)
    query = clustered(1, 99)[0].astype(np.float32)
    hits = await index.vector_search(query, 1000)
    assert sorted(hits.numbers.tolist()) == sorted(expected)
    cosines = [float(expected[number].vector.astype(np.float32) @ query) for number in hits.numbers.tolist()]
    assert hits.scores.tolist() == pytest.approx(cosines, abs=2e-3)
    await index.close()
