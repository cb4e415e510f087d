"""Search and Ask on a real database, a real index and the real embedder."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from datadistiller import errors, model
from datadistiller.embedding.onnx import OnnxEmbedder
from datadistiller.indexing import Entry
from datadistiller.indexing.local import LocalIndex
from datadistiller.model import Mode
from datadistiller.query import answer, citations, search
from datadistiller.query.rerank import Rerank
from datadistiller.store.chunks import Chunks
from datadistiller.store.database import Database
from datadistiller.store.pages import Pages

LIGHTHOUSE = "The lighthouse of Kermorvan was built in 1849. It stands on a rock above the sea."
BAKERY = "The bakery on the market square opens at six. Its rye bread is baked over a wood fire."
BRIDGE = "The bridge across the river Aven carries a railway. It was opened to traffic in 1868."


@pytest.fixture(scope="module")
def embedder() -> OnnxEmbedder:
    return OnnxEmbedder()


class World:
    """Documents put straight where the pipeline would leave them."""

    def __init__(self, database: Database, index: LocalIndex, embedder: OnnxEmbedder) -> None:
        self.database = database
        self.index = index
        self.embedder = embedder
        self.search = search.Search(index, Chunks(database), embedder)
        self.ask = answer.Ask(self.search)

    async def add(
        self, text: str, *, searchable: bool = True, collection: str = "default", chunks: int = 1, **metadata: Any
    ) -> uuid.UUID:
        """One document of one page; its chunks are the same text again and again."""
        job_id = uuid.uuid4()
        page = "\n\n".join([text] * chunks)
        places = [(n, n * (len(text) + 2)) for n in range(chunks)]
        async with self.database.transaction() as conn:
            await conn.execute(
                "INSERT INTO document_jobs (job_id, filename, collection, media_type, file_size, sha256, object_key,"
                " metadata, status, total_chunks, page_count, searchable)"
                " VALUES (%s, %s, %s, 'text/plain', 1, %s, '', %s, %s, %s, 1, %s)",
                (job_id, f"{job_id}.txt", collection, job_id.hex, json.dumps(metadata),
                 "completed" if searchable else "embedding", chunks, searchable),
            )  # fmt: skip
            await conn.execute("INSERT INTO document_pages VALUES (%s, 1, '', %s)", (job_id, page))
            for n, start in places:
                await conn.execute(
                    "INSERT INTO document_chunks (chunk_id, job_id, attempt, ordinal, status, page, start_char,"
                    " end_char, tokens, context, text) VALUES (%s, %s, 1, %s, 'indexed', 1, %s, %s, 20, '', %s)",
                    (uuid.uuid4(), job_id, n, start, start + len(text), text),
                )
            rows = await conn.execute(
                "SELECT c.chunk_no AS no, c.chunk_id AS id, j.job_no AS job"
                " FROM document_chunks c JOIN document_jobs j USING (job_id) WHERE job_id = %s",
                (job_id,),
            )
            entries: list[dict[str, Any]] = [dict(row) for row in await rows.fetchall()]
        [vector] = self.embedder.embed([text]).astype(np.float16)
        await self.index.add([Entry(e["no"], e["id"], e["job"], vector, "", text) for e in entries])
        await self.index.commit()
        return job_id

    async def delete(self, job_id: uuid.UUID) -> None:
        """What a DELETE does first; the index still holds the chunks."""
        async with self.database.transaction() as conn:
            await conn.execute("UPDATE document_jobs SET deleted_at = now() WHERE job_id = %s", (job_id,))


@pytest.fixture
async def world(database: Database, embedder: OnnxEmbedder, tmp_path: Path) -> AsyncIterator[World]:
    index = LocalIndex(tmp_path / "index", embedder.dim, embedder.fingerprint)
    await index.open()
    yield World(database, index, embedder)
    await index.close()


@pytest.mark.parametrize("mode", list(Mode))
async def test_the_right_document_comes_first(world: World, mode: Mode) -> None:
    wanted = await world.add(LIGHTHOUSE)
    await world.add(BAKERY)
    found = await world.search.search("When was the lighthouse built?", 2, mode)
    assert found.passages[0].job_id == wanted
    first = found.passages[0]
    assert (first.similarity is None) == (mode is Mode.KEYWORD)
    assert first.score > 0
    assert first.text == LIGHTHOUSE
    expected = {"fuse", "hydrate"} | ({"embed", "vector"} if mode is not Mode.KEYWORD else set())
    assert found.timings_ms.keys() == expected | ({"keyword"} if mode is not Mode.VECTOR else set())


async def test_collections_and_filters_restrict(world: World) -> None:
    old = await world.add(LIGHTHOUSE, collection="a", year=1849)
    new = await world.add(LIGHTHOUSE, collection="b", year=2020)

    async def jobs(**scope: Any) -> set[uuid.UUID]:
        return {p.job_id for p in (await world.search.search("lighthouse", 5, **scope)).passages}

    assert await jobs() == {old, new}
    assert await jobs(collection="b") == {new}
    assert await jobs(filter={"year": {"$lt": 1900}}) == {old}
    assert await jobs(collection="b", filter={"year": 1849}) == set()
    assert await jobs(collection="nowhere") == set()
    with pytest.raises(errors.InvalidRequest):
        await jobs(filter={"year": {"$regex": ".*"}})


async def test_equal_passages_come_in_order_of_their_numbers(world: World) -> None:
    await world.add(LIGHTHOUSE, chunks=6)
    numbers = [p.chunk_no for p in (await world.search.search("lighthouse", 6)).passages]
    assert len(numbers) == 6
    assert numbers == sorted(numbers)


async def test_nothing_deleted_is_shown_whatever_the_index_holds(world: World) -> None:
    gone = await world.add(LIGHTHOUSE)
    kept = await world.add(BRIDGE)
    await world.delete(gone)
    found = await world.search.search("lighthouse of Kermorvan", 5)
    assert [p.job_id for p in found.passages] == [kept]


async def test_chunks_that_may_not_be_shown_never_crowd_out_others(world: World) -> None:
    wanted = await world.add(BRIDGE)
    await world.add(LIGHTHOUSE, chunks=5 * search.DEPTH, searchable=False)
    found = await world.search.search("When was the lighthouse of Kermorvan built?", 1)
    assert [p.job_id for p in found.passages] == [wanted]


class Switching(Chunks):
    """Calls ``switch`` before one of its looks at passages."""

    def __init__(self, database: Database, look: int, switch: Callable[[], Awaitable[None]]) -> None:
        super().__init__(database)
        self.looks, self.look, self.switch = 0, look, switch

    async def passages(self, chunk_nos: Sequence[int], located: int | None = None) -> list[model.Passage]:
        self.looks += 1
        if self.looks == self.look:
            await self.switch()
        return await super().passages(chunk_nos, located)


@pytest.mark.parametrize("purged", [True, False])
@pytest.mark.parametrize("look", [1, 2])
async def test_a_switch_between_two_looks_shows_one_version(world: World, look: int, purged: bool) -> None:
    """Every other chunk is of the new version; twenty-five are more than one look asks for."""
    job_id = await world.add(LIGHTHOUSE, chunks=50)
    other = "UPDATE document_chunks SET version = 2 WHERE job_id = %s AND ordinal %% 2 = 1"
    purge = "DELETE FROM document_chunks WHERE job_id = %s AND version = 1"

    async def switch() -> None:
        async with world.database.transaction() as conn:
            await conn.execute("UPDATE document_jobs SET version = 2 WHERE job_id = %s", (job_id,))
            await conn.execute("UPDATE document_pages SET version = 2 WHERE job_id = %s", (job_id,))
            if purged:
                await conn.execute(purge.encode(), (job_id,))

    async with world.database.transaction() as conn:
        await conn.execute(other.encode(), (job_id,))
    chunks = Switching(world.database, look, switch)
    found = await search.Search(world.index, chunks, world.embedder).search("lighthouse of Kermorvan", 20)
    assert len(found.passages) == 20
    assert chunks.looks >= look
    assert len({passage.version for passage in found.passages}) == 1


async def test_a_version_that_the_index_did_not_have_yet_is_looked_for_again(world: World) -> None:
    job_id = await world.add(LIGHTHOUSE)

    async def switch() -> None:
        async with world.database.transaction() as conn:
            await conn.execute("DELETE FROM document_chunks WHERE job_id = %s", (job_id,))
        await world.add(LIGHTHOUSE.replace("1849", "1850"))

    found = await search.Search(world.index, Switching(world.database, 1, switch), world.embedder).search("lighthouse")
    assert ["1850" in passage.text for passage in found.passages] == [True]


async def test_an_answer_quotes_the_documents_exactly(world: World) -> None:
    job_id = await world.add(LIGHTHOUSE)
    await world.add(BAKERY)
    said = await world.ask.ask("When was the lighthouse of Kermorvan built?")
    assert said.answered
    assert said.text is not None
    assert said.text.startswith("The lighthouse of Kermorvan was built in 1849. [1]")
    assert said.citations[0].job_id == job_id
    assert "answer" in said.timings_ms
    assert said.took_ms > 0
    pages = Pages(world.database)
    for place, of in [(s, said.citations[s.citation - 1]) for s in said.sentences] + [(c, c) for c in said.citations]:
        assert citations.is_true(place, (await pages.get(of.job_id, place.page)).text)


async def test_what_the_documents_do_not_answer_is_said_plainly(world: World) -> None:
    await world.add(LIGHTHOUSE)
    said = await world.ask.ask("Which enzyme splits lactose in the gut?")
    assert (said.answered, said.text, list(said.sentences)) == (False, answer.NOTHING, [])
    assert len(said.citations) == 1  # the nearest, for a person to look at


async def test_an_empty_index_answers_nothing(world: World) -> None:
    said = await world.ask.ask("Anything?")
    assert (said.answered, said.text, list(said.citations)) == (False, answer.NOTHING, [])


class ByLength:
    """A ``Reranker`` that everybody can foresee: the shorter, the better."""

    name = engine = "by length"

    def score(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([-len(text) for text in texts], np.float32)


async def test_passages_are_scored_anew_before_the_answer_is_chosen(world: World) -> None:
    nothing = await answer.Ask(world.search, Rerank(ByLength(), 3)).ask("Anything?")
    assert (nothing.answered, list(nothing.citations)) == (False, [])
    for text in (LIGHTHOUSE, BAKERY, BRIDGE):
        await world.add(text)
    question = "When was the lighthouse built?"
    plain = await world.ask.ask(question, top_k=2)
    assert plain.scored_by == "search" and plain.citations[0].text == LIGHTHOUSE and "rerank" not in plain.timings_ms
    said = await answer.Ask(world.search, Rerank(ByLength(), 3)).ask(question, top_k=2)
    assert [passage.text for passage in said.citations] == sorted((LIGHTHOUSE, BAKERY, BRIDGE), key=len)[:2]
    assert said.scored_by == "by length" and said.timings_ms["rerank"] >= 0
    assert all(0 <= passage.score <= 1 for passage in said.citations)
    assert all(sentence.citation in (1, 2) for sentence in said.sentences)
    some = await answer.Ask(world.search, Rerank(ByLength(), 1)).ask(question, top_k=3)
    assert len(some.citations) == 3  # as many as are asked for, and all of them scored
    assert [passage.text for passage in some.citations] == sorted((LIGHTHOUSE, BAKERY, BRIDGE), key=len)


async def test_questions_take_turns_at_being_scored(world: World) -> None:
    await world.add(LIGHTHOUSE)
    at_once = 0

    class Alone(ByLength):
        def score(self, question: str, texts: Sequence[str]) -> NDArray[np.float32]:
            nonlocal at_once
            at_once += 1
            time.sleep(0.02)  # room for another one to come in
            assert at_once == 1
            at_once -= 1
            return super().score(question, texts)

    ask = answer.Ask(world.search, Rerank(Alone(), 3))
    answers = await asyncio.gather(*(ask.ask("When was the lighthouse built?") for _ in range(5)))
    assert all(said.answered for said in answers)


async def test_passages_alone_make_no_answer(world: World) -> None:
    await world.add(LIGHTHOUSE)
    said = await world.ask.ask("When was the lighthouse built?", answer=False)
    assert (said.answered, said.text, list(said.sentences)) == (False, None, [])
    assert len(said.citations) == 1


ODD = [
    "?",
    "x",
    " ",
    "who is it",
    "'; DROP TABLE document_jobs; --",
    "(.*)+[^",
    'text:"x" AND *:*~2 ^9 +-',
    "🙂",
    "\ud800",
]


@pytest.mark.parametrize("question", [*ODD, "lighthouse " * 10_000])
async def test_no_question_is_an_error(world: World, question: str) -> None:
    await world.add(LIGHTHOUSE)
    for mode in Mode:
        await world.ask.ask(question, mode=mode)
    assert (await world.search.search("lighthouse")).passages
