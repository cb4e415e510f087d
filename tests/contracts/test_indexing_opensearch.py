"""What only the adapter on OpenSearch promises: one writer, checked writes, true cosines, clear refusals."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from datadistiller import errors
from datadistiller.indexing import Entry, opensearch_writer
from datadistiller.indexing import opensearch as adapter
from datadistiller.indexing import opensearch_layout as layout
from datadistiller.indexing.opensearch import OpenSearchIndex
from datadistiller.indexing.opensearch_client import Access
from datadistiller.indexing.opensearch_layout import Content, Names, Shape
from tests.contracts.opensearch_kit import lose_shard
from tests.contracts.test_indexing import DIM, best, entry, fill, jobs, vector
from tools.services.opensearch import OpenSearchServer

CONTENT = Content("model-a", DIM, "me")
SHAPE = Shape(replicas=0)


@pytest.fixture
def access(opensearch: OpenSearchServer) -> Iterator[Access]:
    """The shared server, under a prefix of the test's own."""
    access = Access([opensearch.url], f"test-{uuid4().hex[:8]}")
    yield access
    httpx.delete(f"{opensearch.url}/{access.prefix}-*", trust_env=False).raise_for_status()


@asynccontextmanager
async def opened(access: Access, **shape: Any) -> AsyncIterator[OpenSearchIndex]:
    """An index that leads."""
    index = OpenSearchIndex(access, CONTENT, Shape(**{"replicas": 0, **shape}))
    if not await index.lead():
        await index.begin_rebuild()
        await index.end_rebuild()
    try:
        yield index
    finally:
        await index.close()


@pytest.fixture
async def index(access: Access) -> AsyncIterator[OpenSearchIndex]:
    async with opened(access) as index:
        yield index


async def call(index: OpenSearchIndex, method: str, path: str, body: Any = None) -> Any:
    return await index._client.call(method, path, body)


async def test_a_zombie_s_late_writes_change_nothing(access: Access, index: OpenSearchIndex) -> None:
    """Neither of chunks that the new leader has removed, nor of chunks it has never heard of."""
    await fill(index, [entry(1, "apples"), entry(2, "pears")])
    await index.add([entry(1, "apples again"), entry(3, "plums")])  # read from the database, then frozen
    async with opened(access) as successor:
        await successor.remove([1])
        await successor.commit()
        with pytest.raises(errors.Unavailable, match="taken it over"):
            await index.commit()
        assert sorted(await successor.contents()) == [2]
        await fill(successor, [entry(4, "figs")])
        assert sorted(await successor.contents()) == [2, 4]
        assert not (await successor.keyword_search("apples plums", 5)).numbers.tolist()


async def test_a_zombie_notices_in_an_idle_moment(access: Access, index: OpenSearchIndex) -> None:
    async with opened(access):
        with pytest.raises(errors.Unavailable, match="another process"):
            await index.commit()


async def test_a_zombie_s_rebuild_ends_in_nothing(access: Access, index: OpenSearchIndex) -> None:
    """Begun before or after another took the lead."""
    await fill(index, [entry(1, "apples")])
    await index.begin_rebuild()
    async with opened(access) as successor:
        with pytest.raises(errors.Unavailable):
            await index.end_rebuild()
        index._building = None
        await index.begin_rebuild()
        with pytest.raises(errors.Unavailable):
            await index.end_rebuild()
        assert (await successor.keyword_search("apples", 5)).numbers.tolist() == [1]
        await fill(successor, [entry(2, "apples")])
        assert await successor.count() == 2


async def test_two_first_leaders_make_one_index(access: Access) -> None:
    """Neither finds an index; both build one; the slower one is refused, whatever it knew."""
    first, second = (OpenSearchIndex(access, CONTENT, SHAPE) for _ in range(2))
    assert not await first.lead() and not await second.lead()
    await first.begin_rebuild()
    await second.begin_rebuild()
    await fill(first, [entry(1, "apples")])
    await first.end_rebuild()
    with pytest.raises(errors.Unavailable):
        await second.end_rebuild()
    assert (await second.keyword_search("apples", 5)).numbers.tolist() == [1]
    # What a survey just before that swap would not have shown.
    with pytest.raises(errors.Unavailable):
        await second._indexes.publish(*await second._indexes.create(second._epoch), [])
    assert await first.count() == 1
    await first.close()
    await second.close()


async def test_a_request_repeated_late_changes_nothing(index: OpenSearchIndex) -> None:
    """As a proxy may do that saw no answer: it still goes through the right writer's alias."""
    await index.add([entry(1, "apples")])
    [(body, _)] = index._bodies((index._epoch << opensearch_writer.EPOCH_BITS) + 1)
    await index.commit()
    await index.remove([1])
    await index.commit()
    [writer] = index._mine.values()
    answer = await call(index, "POST", f"/{writer}/_bulk", body)
    assert answer["items"][0]["index"]["error"]["type"] == "version_conflict_engine_exception"
    assert await index.contents() == {}


async def test_a_leader_with_a_clock_behind_goes_on_where_the_last_one_was(
    access: Access, index: OpenSearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in range(3):
        await fill(index, [entry(1, f"apples {turn}")])
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    async with opened(access) as successor:
        await fill(successor, [entry(1, "pears")])
        assert (await successor.keyword_search("pears", 5)).numbers.tolist() == [1]


async def test_a_refused_chunk_is_named_and_not_quoted(index: OpenSearchIndex) -> None:
    await index.add([entry(7, "apples"), entry(2**63 + 8, "a secret text")])
    with pytest.raises(errors.BrokenInvariant, match=f"chunk {2**63 + 8}: 400") as refused:
        await index.commit()
    assert "secret" not in refused.value.message
    for wrong in (vector(1)[:-1], np.full(DIM, np.nan, np.float16)):
        await index.lead()
        await index.add([Entry(9, entry(9).chunk_id, 1, wrong, "", "text")])
        with pytest.raises(errors.BrokenInvariant, match="chunk 9"):
            await index.commit()


async def test_a_full_disk_is_waited_for(index: OpenSearchIndex) -> None:
    """The block that OpenSearch sets at its flood stage."""
    await fill(index, [entry(1)])
    blocked: dict[str, Any] = {"index.blocks.read_only_allow_delete": True}
    await call(index, "PUT", f"/{index._serving}/_settings", blocked)
    await index.add([entry(2)])
    with pytest.raises(errors.CapacityError, match="disk"):
        await index.commit()
    await call(index, "PUT", f"/{index._serving}/_settings", dict.fromkeys(blocked))
    await index.commit()
    assert sorted(await index.contents()) == [1, 2]


async def test_large_commits_go_in_several_requests(index: OpenSearchIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch_writer, "BULK_BYTES", 2000)
    await fill(index, [entry(number, f"word{number}") for number in range(1, 200)])
    assert len(list(index._bodies(1))) == 0
    assert len(await index.contents()) == 199
    [settings] = (await call(index, "GET", f"/{index._names.alias}/_settings")).values()
    assert settings["settings"]["index"]["refresh_interval"] == "-1", "a commit would be many parts, each with a graph"
    parts = await call(index, "GET", f"/{index._names.alias}/_segments", None)
    [[shard]] = next(iter(parts["indices"].values()))["shards"].values()
    assert shard["num_search_segments"] <= opensearch_writer.BULKS


@pytest.mark.parametrize("shards", [1, 3])
async def test_filters_are_exact_on_both_ways(access: Access, monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    """Scored one by one, and by the graph: the same cosines, and those of numpy."""
    entries = [entry(number, job=number % 40, text="pear") for number in range(1, 1201)]
    query = -vector(77).astype(np.float32)  # most are on the other side: scores below and above zero
    async with opened(access, shards=shards) as index:
        await fill(index, entries)
        for limit in (0, 10_000):
            monkeypatch.setattr(adapter, "EXACT_CHUNKS", limit)
            for allowed in (jobs(7), jobs(*range(20)), jobs(*range(40))):
                inside = [e for e in entries if e.job_no in allowed.tolist()]
                hits = await index.vector_search(query, 15, allowed)
                assert hits.numbers.tolist() == best(inside, query, 15)
        everything = await index.vector_search(query, 2000)
        truth = {e.chunk_no: float(e.vector.astype(np.float32) @ query) for e in entries}
        assert len(everything.numbers) == 1200 and min(everything.scores) < -0.5 < 0.5 < max(everything.scores)
        found = [truth[number] for number in everything.numbers.tolist()]
        assert everything.scores.tolist() == pytest.approx(found, abs=1e-6)


async def test_more_jobs_than_one_clause_may_hold(index: OpenSearchIndex) -> None:
    """OpenSearch takes 65,536 terms; what is allowed by the last clause counts like what is by the first."""
    entries = [entry(number, "pear " * number, job=number * 50_000) for number in range(1, 6)]
    await fill(index, entries)
    allowed = np.arange(50_000, 200_001, dtype=np.int64)
    query = vector(5).astype(np.float32)
    assert (await index.vector_search(query, 10, allowed)).numbers.tolist() == best(entries[:4], query, 10)
    assert sorted((await index.keyword_search("pear", 10, allowed)).numbers.tolist()) == [1, 2, 3, 4]


async def test_words_are_counted_over_all_shards(access: Access) -> None:
    """Otherwise a rare word would weigh as much as its shard has texts."""
    async with opened(access, shards=5) as index:
        await fill(index, [entry(number, "pears" if number % 7 else "figs pears") for number in range(1, 60)])
        scores = (await index.keyword_search("figs", 50)).scores
        assert len(scores) == 8 and np.allclose(scores, scores[0])


async def test_a_part_that_is_missing_is_an_error_until_it_is_given_up(
    access: Access, opensearch: OpenSearchServer
) -> None:
    async with opened(access) as index:
        await fill(index, [entry(1, "apples")])
        await lose_shard(opensearch, str(index._serving))
        for search in (index.count(), index.keyword_search("apples", 5), index.vector_search(vector(1), 5)):  # type: ignore[arg-type]
            with pytest.raises(errors.Unavailable, match="missing"):
                await search
        with pytest.raises(errors.Unavailable, match="missing"):
            await index.lead()
        impatient = OpenSearchIndex(access, CONTENT, SHAPE, missing_seconds=0)
        assert not await impatient.lead()
        await impatient.begin_rebuild()
        await impatient.add([entry(1, "apples")])
        await impatient.build()
        await impatient.end_rebuild()
        assert (await index.keyword_search("apples", 5)).numbers.tolist() == [1]
        assert len(await impatient._indexes.survey()) == 1
        await impatient.close()


async def test_an_index_that_is_not_ours_is_never_searched_as_if(access: Access, index: OpenSearchIndex) -> None:
    """The index is deleted, and somebody's write has made another one of that name."""
    await fill(index, [entry(1, "apples")])
    alias = index._names.alias
    await call(index, "DELETE", f"/{index._serving}")
    for found in range(2):
        for search in (index.keyword_search("apples", 5), index.vector_search(vector(1), 5, jobs(1))):  # type: ignore[arg-type]
            with pytest.raises(errors.Unavailable, match="not one of ours" if found else "not there"):
                await search
        await call(index, "PUT", f"/{alias}/_doc/1?refresh=true", {"text": "apples"})
    with pytest.raises(errors.Unavailable):
        await fill(index, [entry(2)])
    assert not await index.lead()
    await index.begin_rebuild()
    await index.end_rebuild()
    await fill(index, [entry(1, "apples")])
    assert (await index.keyword_search("apples", 5)).numbers.tolist() == [1]


async def test_an_unfinished_rebuild_is_gone_on_with(access: Access, index: OpenSearchIndex) -> None:
    await fill(index, [entry(1, "apples")])
    await index.begin_rebuild()
    await index.add([entry(1, "pears"), entry(2, "pears")])
    await index.build()
    async with opened(access) as successor:
        assert sorted(await successor.contents()) == [1]
        await successor.begin_rebuild()
        assert sorted(await successor.contents()) == [1, 2]
        await successor.end_rebuild()
        assert (await successor.keyword_search("pears", 5)).numbers.tolist() == [1, 2]
        assert len(await successor._indexes.survey()) == 1


async def test_a_leader_that_died_over_the_barrier_blocks_nobody(access: Access, index: OpenSearchIndex) -> None:
    await call(index, "PUT", f"/{index._serving}/_block/write")
    async with opened(access) as successor:
        await fill(successor, [entry(1, "apples")])
        assert await successor.count() == 1


async def test_an_index_of_another_database_is_left_alone(access: Access, index: OpenSearchIndex) -> None:
    await fill(index, [entry(1, "apples")])
    stranger = OpenSearchIndex(access, Content("model-a", DIM, "somebody else"), Shape(replicas=0))
    with pytest.raises(errors.SetupError, match="another database") as refused:
        await stranger.lead()
    assert "DATADISTILLER_INDEX_URL" in refused.value.hint
    await fill(index, [entry(2, "apples")])
    assert await index.count() == 2
    await stranger.close()


async def test_who_does_not_lead_lists_what_is_searched(access: Access, index: OpenSearchIndex) -> None:
    """So does the API, for ``doctor --deep``."""
    reader = OpenSearchIndex(access, Content("model-a", DIM, ""), Shape(replicas=0))
    await fill(index, [entry(1, "apples"), entry(2, "pears")])
    assert await reader.contents() == await index.contents() != {}
    assert list(await reader.contents(2, 1)) == [2]
    await reader.close()


async def test_models_do_not_meet(access: Access, index: OpenSearchIndex) -> None:
    await fill(index, [entry(1, "apples")])
    other = OpenSearchIndex(access, Content("model-b", DIM, "me"), Shape(replicas=0))
    assert not await other.lead()
    await other.begin_rebuild()
    await other.end_rebuild()
    assert await other.count() == 0 and await index.count() == 1
    await other.close()


def test_names_fit_together() -> None:
    names = Names.of("datadistiller", "model-a")
    index = names.build()
    assert index.startswith(f"{names.alias}-") and Names.epoch(index, Names.writer(index, 17)) == 17
    assert Names.epoch(index, names.alias) is None and Names.epoch(index, f"{index}-wx") is None
    assert Names.of("datadistiller", "model-b") != names


def test_vectors_are_written_exactly() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    written = json.loads(layout.written(Entry(1, uuid4(), 1, every, "", "x"), len(every)))
    assert (np.array(written["vector"], np.float32) == every.astype(np.float32)).all()
