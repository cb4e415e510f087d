"""What every search index does, whatever it is made of: one suite for the port, run on each adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from uuid import UUID, uuid4, uuid5

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from datadistiller.indexing import Entry, Index
from datadistiller.indexing.local import LocalIndex
from datadistiller.indexing.opensearch import OpenSearchIndex
from datadistiller.indexing.opensearch_client import Access
from datadistiller.indexing.opensearch_layout import Content, Shape

DIM = 16
NAMESPACE = UUID("6f1d8c1e-37a5-4a55-9a0c-0d6f2b1c9e11")

Opener = Callable[[], Awaitable[Index]]


@pytest.fixture(params=["local", "opensearch"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Index]]:
    """Makes the adapter on a place that stays the same within a test."""
    if request.param == "local":
        yield lambda: LocalIndex(tmp_path / "index", DIM, "model-a", hnsw_threshold=100)
        return
    access = Access([request.getfixturevalue("opensearch").url], f"test-{uuid4().hex[:8]}")
    yield lambda: OpenSearchIndex(access, Content("model-a", DIM), Shape(replicas=0))
    httpx.delete(f"{access.hosts[0]}/{access.prefix}-*", trust_env=False).raise_for_status()


@pytest.fixture
async def opener(make: Callable[[], Index]) -> AsyncIterator[Opener]:
    """Opens the adapter and takes the lead; the one opened before is closed."""
    opened: list[Index] = []

    async def open_index() -> Index:
        if opened:
            await opened.pop().close()
        opened.append(make())
        if not await opened[0].lead():
            await opened[0].begin_rebuild()
            await opened[0].end_rebuild()
        return opened[0]

    yield open_index
    if opened:
        await opened.pop().close()


@pytest.fixture
async def index(opener: Opener) -> Index:
    return await opener()


def vector(seed: int) -> NDArray[np.float16]:
    values = np.random.default_rng(seed).standard_normal(DIM)
    return (values / np.linalg.norm(values)).astype(np.float16)


def entry(number: int, text: str = "nothing", job: int = 1, seed: int | None = None, context: str = "") -> Entry:
    seed = number if seed is None else seed
    return Entry(number, uuid5(NAMESPACE, f"{number} {seed} {text!a}"), job, vector(seed), context, text)


async def fill(index: Index, entries: Sequence[Entry]) -> None:
    await index.add(entries)
    await index.commit()


def jobs(*numbers: int) -> NDArray[np.int64]:
    return np.array(sorted(numbers), dtype=np.int64)


def best(entries: Iterable[Entry], query: NDArray[np.float32], limit: int) -> list[int]:
    """The truth, by brute force."""
    scored = [(-float(e.vector.astype(np.float32) @ query), e.chunk_no) for e in entries]
    return [number for _, number in sorted(scored)[:limit]]


async def test_an_empty_index_finds_nothing(index: Index) -> None:
    assert (await index.vector_search(vector(1).astype(np.float32), 5)).numbers.tolist() == []
    assert (await index.keyword_search("anything", 5)).numbers.tolist() == []
    assert await index.contents() == {}
    assert await index.count() == 0


async def test_a_commit_shows_what_was_added(index: Index) -> None:
    await index.add([entry(1, "apples")])
    assert (await index.keyword_search("apples", 5)).numbers.tolist() == []
    await index.commit()
    assert (await index.keyword_search("apples", 5)).numbers.tolist() == [1]
    assert (await index.vector_search(vector(1).astype(np.float32), 5)).numbers.tolist() == [1]
    assert await index.count() == 1


async def test_hits_come_best_first_with_cosines(index: Index) -> None:
    entries = [entry(number) for number in range(1, 41)]
    await fill(index, entries)
    query = vector(999).astype(np.float32)
    hits = await index.vector_search(query, 10)
    assert hits.numbers.dtype == np.int64 and hits.scores.dtype == np.float32
    assert hits.numbers.tolist() == best(entries, query, 10)
    cosines = [float(vector(number).astype(np.float32) @ query) for number in hits.numbers.tolist()]
    assert hits.scores.tolist() == pytest.approx(cosines, abs=1e-3)


async def test_a_limit_beyond_the_index_gives_all_of_it(index: Index) -> None:
    await fill(index, [entry(1, "pear"), entry(2, "pear")])
    assert sorted((await index.vector_search(vector(1).astype(np.float32), 50)).numbers.tolist()) == [1, 2]
    assert sorted((await index.keyword_search("pear", 50)).numbers.tolist()) == [1, 2]


async def test_adding_a_number_again_replaces_the_chunk(index: Index) -> None:
    await fill(index, [entry(1, "apples", job=1), entry(2, "plums", job=1)])
    again = entry(1, "pears", job=7, seed=500)
    await fill(index, [again])
    assert (await index.keyword_search("apples", 5)).numbers.tolist() == []
    assert (await index.keyword_search("pears", 5, jobs(7))).numbers.tolist() == [1]
    assert (await index.vector_search(vector(500).astype(np.float32), 1)).numbers.tolist() == [1]
    assert (await index.contents())[1] == again.chunk_id
    assert await index.count() == 2


async def test_the_last_word_on_a_number_counts(index: Index) -> None:
    await index.add([entry(1, "apples"), entry(1, "pears"), entry(2, "plums")])
    await index.remove([2, 3])
    await index.add([entry(3, "figs")])
    await index.commit()
    assert sorted(await index.contents()) == [1, 3]
    assert (await index.keyword_search("apples plums", 5)).numbers.tolist() == []
    assert sorted((await index.keyword_search("pears figs", 5)).numbers.tolist()) == [1, 3]


async def test_removing_what_is_not_there_succeeds(index: Index) -> None:
    await fill(index, [entry(1, "apples")])
    await index.remove([1, 2, 10**12])
    await index.commit()
    assert await index.contents() == {}
    assert (await index.keyword_search("apples", 5)).numbers.tolist() == []
    assert (await index.vector_search(vector(1).astype(np.float32), 5)).numbers.tolist() == []


async def test_contents_survive_closing(opener: Opener) -> None:
    index = await opener()
    entries = [entry(number, f"word{number}") for number in range(1, 400)]
    await fill(index, entries)
    await index.remove([5, 6])
    await index.commit()
    index = await opener()
    assert await index.contents() == {e.chunk_no: e.chunk_id for e in entries if e.chunk_no not in (5, 6)}
    assert (await index.keyword_search("word77", 5)).numbers.tolist() == [77]
    assert (await index.vector_search(vector(77).astype(np.float32), 1)).numbers.tolist() == [77]


async def test_contents_come_in_parts(index: Index) -> None:
    entries = [entry(number) for number in range(10, 310, 3)]
    await fill(index, entries[::-1])
    await index.remove([40, 43])
    await index.commit()
    wanted = {e.chunk_no: e.chunk_id for e in entries if e.chunk_no not in (40, 43)}
    found: dict[int, UUID] = {}
    first = 0
    while part := await index.contents(first, 7):
        assert len(part) == 7 or len(found) + len(part) == len(wanted)
        assert min(part) >= first and not found.keys() & part.keys()
        found |= part
        first = max(part) + 1
    assert found == wanted
    assert await index.contents(40, 1) == {46: wanted[46]}
    assert await index.contents(308) == {}


async def test_a_rebuild_replaces_everything_while_searches_go_on(index: Index) -> None:
    await fill(index, [entry(1, "apples"), entry(2, "apples")])
    await index.begin_rebuild()
    assert await index.contents() == {}
    assert (await index.keyword_search("apples", 5)).numbers.tolist() == [1, 2]
    await index.add([entry(1, "pears"), entry(2, "plums")])
    await index.build()
    assert len((await index.keyword_search("apples pears plums", 5)).numbers) == 2
    await fill(index, [entry(3, "figs")])  # a change that comes meanwhile
    assert (await index.keyword_search("figs", 5)).numbers.tolist() == [3]
    await index.remove([2])
    await index.commit()
    assert (await index.keyword_search("apples plums", 5)).numbers.tolist() in ([], [1])
    await index.end_rebuild()
    assert sorted(await index.contents()) == [1, 3]
    assert (await index.keyword_search("apples plums", 5)).numbers.tolist() == []
    assert sorted((await index.keyword_search("pears figs", 5)).numbers.tolist()) == [1, 3]
    await fill(index, [entry(4, "dates")])
    assert await index.count() == 3


async def test_taking_the_lead_again_changes_nothing(opener: Opener) -> None:
    index = await opener()
    await fill(index, [entry(1, "apples")])
    await index.add([entry(2, "pears")])
    assert await index.lead()
    await index.commit()
    index = await opener()
    assert 1 in await index.contents()
    await fill(index, [entry(1, "plums")])
    assert (await index.keyword_search("plums", 5)).numbers.tolist() == [1]


async def test_a_filter_gives_the_best_of_the_allowed(index: Index) -> None:
    """However few they are, however far down the ranking."""
    entries = [entry(number, "pear " * (1 + number % 7), job=number % 50) for number in range(1, 601)]
    await fill(index, entries)
    query = vector(4321).astype(np.float32)
    ranking = (await index.keyword_search("pears", 1000)).numbers.tolist()
    scores = dict(zip(ranking, (await index.keyword_search("pears", 1000)).scores.tolist(), strict=True))
    for allowed in (jobs(3), jobs(3, 4, 49), jobs(*range(25)), jobs(*range(50)), jobs(1, 777), jobs(777)):
        inside = [e for e in entries if e.job_no in allowed.tolist()]
        assert (await index.vector_search(query, 10, allowed)).numbers.tolist() == best(inside, query, 10)
        hits = await index.keyword_search("pears", 10, allowed)
        expected = sorted((scores[e.chunk_no] for e in inside), reverse=True)[:10]
        assert set(hits.numbers.tolist()) <= {e.chunk_no for e in inside}
        assert hits.scores.tolist() == pytest.approx(expected, rel=1e-5)


async def test_an_empty_filter_finds_nothing(index: Index) -> None:
    await fill(index, [entry(1, "apples")])
    assert (await index.vector_search(vector(1).astype(np.float32), 5, jobs())).numbers.tolist() == []
    assert (await index.keyword_search("apples", 5, jobs())).numbers.tolist() == []


async def test_words_match_whatever_their_form(index: Index) -> None:
    texts = ["The foxes were running", "Éclairs from a café", "HTTP status 404", "東京の人口は多い", "Straße nach Köln"]
    await fill(index, [entry(number, text) for number, text in enumerate(texts, 1)])
    found = {
        question: (await index.keyword_search(question, 5)).numbers.tolist()
        for question in ("fox runs", "eclair", "CAFE", "http 404!", "東京", "koln")
    }
    assert found == {"fox runs": [1], "eclair": [2], "CAFE": [2], "http 404!": [3], "東京": [4], "koln": [5]}


async def test_the_context_is_searched_with_the_text(index: Index) -> None:
    await fill(index, [entry(1, "It rose by 4 %", context="Annual report > Revenue"), entry(2, "It fell")])
    assert (await index.keyword_search("revenue", 5)).numbers.tolist() == [1]


async def test_a_rarer_word_weighs_more(index: Index) -> None:
    await fill(index, [entry(1, "common common"), entry(2, "rare common"), *(entry(n, "common") for n in range(3, 30))])
    assert (await index.keyword_search("rare common", 3)).numbers.tolist()[0] == 2


async def test_a_question_of_common_words_only_is_searched_too(index: Index) -> None:
    await fill(index, [entry(1, "To be or not to be"), entry(2, "apples")])
    assert (await index.keyword_search("to be or not to be", 5)).numbers.tolist() == [1]


@pytest.mark.parametrize(
    "question",
    [
        *("", " ", "\n\t", "?", "*", "AND", "NOT OR", '"', '"open phrase', "title:(", "text:[a TO b]", "+a -b ^3 ~2"),
        *("/re(gex/", "' OR 1=1; --", "\\", "a\x00b", "\ud800", "🦊", "ſ", "%s{}", "\u202eabc", "-" * 1000),
        "x" * 100_000,
        " ".join(f"word{n}" for n in range(20_000)),
    ],
)
async def test_no_question_is_an_error(index: Index, question: str) -> None:
    await fill(index, [entry(1, "apples a b word3")])
    await index.keyword_search(question, 5)
    await index.keyword_search(question, 5, jobs(1))


async def test_any_text_can_be_added(index: Index) -> None:
    texts = ["", "\x00", "\ud800 lone", "🦊" * 500, "x" * 50_000, "a\nb\r\n\tc"]
    await fill(index, [entry(number, text) for number, text in enumerate(texts, 1)])
    assert sorted(await index.contents()) == [1, 2, 3, 4, 5, 6]
    assert (await index.keyword_search("lone", 5)).numbers.tolist() == [3]


async def test_searches_while_writing_see_whole_commits(index: Index) -> None:
    """Each commit replaces all ten chunks: their texts never mix, and none is missing or doubled."""
    done = False

    async def look() -> int:
        looked = 0
        while not done or not looked:
            hits = await index.keyword_search("common", 50)
            rounds = [(await index.keyword_search(f"round{n}", 50)).numbers.tolist() for n in range(12)]
            assert sorted(hits.numbers.tolist()) in ([], list(range(1, 11)))
            assert all(sorted(numbers) in ([], list(range(1, 11))) for numbers in rounds)
            assert len((await index.vector_search(vector(3).astype(np.float32), 50)).numbers) in (0, 10)
            looked += 1
        return looked

    searching = [asyncio.create_task(look()) for _ in range(2)]
    for turn in range(12):
        await fill(index, [entry(number, f"common round{turn}", seed=number + 100 * turn) for number in range(1, 11)])
    done = True
    assert all(count > 0 for count in await asyncio.gather(*searching))


async def test_a_search_after_a_commit_sees_it(index: Index) -> None:
    for number in range(1, 30):
        await fill(index, [entry(number, f"word{number}")])
        found = await asyncio.gather(
            index.keyword_search(f"word{number}", 1), index.vector_search(vector(number).astype(np.float32), 1)
        )
        assert [hits.numbers.tolist() for hits in found] == [[number], [number]]
