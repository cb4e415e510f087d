"""The embed and remove stages on their own."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datadistiller import errors, model, objects
from datadistiller.messages import CHUNK_TOPIC, REMOVE_TOPIC, Delivery, Done, Embedded, Failed, IndexedText
from datadistiller.objects.local import LocalObjects
from datadistiller.stages.embed import Embed
from datadistiller.stages.remove import Remove

_numbers = iter(range(1, 1000))
MODEL = 7


def delivery(topic: str = CHUNK_TOPIC) -> Delivery:
    return Delivery(
        next(_numbers), topic, uuid.uuid4(), 1, uuid.uuid4(), model.Lane.INTERACTIVE, 0, 0, uuid.uuid4()
    )  # fmt: skip


class Texts:
    """The texts of some chunks; ``known`` are the vectors that some texts have already."""

    def __init__(self, texts: dict[uuid.UUID, str]) -> None:
        self._texts = texts
        self.known: dict[str, NDArray[np.float16]] = {}

    async def texts(self, chunk_ids: Sequence[uuid.UUID], model_id: int) -> dict[uuid.UUID, IndexedText]:
        assert model_id == MODEL
        here = {i: self._texts[i] for i in chunk_ids if i in self._texts}
        return {i: IndexedText(text, self.known.get(text)) for i, text in here.items()}


class Lengths:
    """An embedder whose vectors are the lengths of the texts; 'bad' texts raise what is given."""

    dim = 2
    fingerprint = "lengths"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.batches: list[int] = []
        self.threads: set[str] = set()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.batches.append(len(texts))
        self.threads.add(threading.current_thread().name)
        if self.error and any(text == "bad" for text in texts):
            raise self.error
        return np.array([[len(text), 0] for text in texts], np.float32).reshape(len(texts), 2)

    def embed_question(self, text: str) -> NDArray[np.float32]:
        return self.embed([text])[0]


def embed(texts: Texts, embedder: Lengths, counted: Counter[str] | None = None) -> Embed:
    """The stage; what it counts goes into ``counted``."""
    counts = Counter[str]() if counted is None else counted
    return Embed(texts, embedder, MODEL, lambda source, number: counts.update({source: number}))


def batch_of(*texts: str | None) -> tuple[list[Delivery], Texts]:
    batch = [delivery() for _ in texts]
    known = {d.chunk_id: text for d, text in zip(batch, texts, strict=True) if text is not None and d.chunk_id}
    return batch, Texts(known)


async def test_each_chunk_gets_its_own_vector_from_one_batch_in_a_thread() -> None:
    batch, texts = batch_of("a", "bb", "ccc")
    embedder = Lengths()
    stage = embed(texts, embedder)
    outcomes = await stage(batch)
    stage.close()
    assert embedder.batches == [3]
    assert all(name.startswith("embed") for name in embedder.threads)
    for expected, outcome in zip(batch, outcomes, strict=True):
        assert isinstance(outcome, Done) and isinstance(outcome.result, Embedded)
        assert outcome.delivery is expected
        assert outcome.result.vector.dtype == np.dtype("<f2")
    assert [float(o.result.vector[0]) for o in outcomes if isinstance(o, Done)] == [1, 2, 3]  # type: ignore[union-attr]


async def test_a_chunk_that_is_gone_costs_only_itself() -> None:
    batch, texts = batch_of("a", None)
    outcomes = {o.delivery.message_id: o for o in await embed(texts, Lengths())(batch)}
    assert isinstance(outcomes[batch[0].message_id], Done)
    gone = outcomes[batch[1].message_id]
    assert isinstance(gone, Failed) and isinstance(gone.error, errors.LeaseLost)


async def test_nothing_is_embedded_if_all_are_gone() -> None:
    batch, texts = batch_of(None, None)
    embedder = Lengths()
    assert len(await embed(texts, embedder)(batch)) == 2
    assert embedder.batches == []


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(ValueError("bad"), errors.TransientError), (errors.BrokenInvariant("too long"), errors.BrokenInvariant)],
)
async def test_one_bad_text_costs_only_itself(raised: Exception, expected: type[Exception]) -> None:
    batch, texts = batch_of("a", "bad", "ccc")
    embedder = Lengths(raised)
    outcomes = await embed(texts, embedder)(batch)
    assert embedder.batches == [3, 1, 1, 1]
    assert [type(o) for o in outcomes] == [Done, Failed, Done]
    failed = outcomes[1]
    assert isinstance(failed, Failed) and type(failed.error) is expected
    assert "bad" not in failed.error.message


async def test_a_text_is_embedded_once_and_one_whose_vector_is_known_not_at_all() -> None:
    batch, texts = batch_of("a", "known", "bb", "a", None, "a", "known")
    texts.known["known"] = np.array([50, 0], "<f2")
    embedder, counted = Lengths(), Counter[str]()
    outcomes = {o.delivery.message_id: o for o in await embed(texts, embedder, counted)(batch)}
    assert embedder.batches == [2]
    assert counted == {"computed": 2, "found": 2, "repeated": 2}
    done = [outcomes[d.message_id] for d in batch]
    assert isinstance(done.pop(4), Failed)
    assert [float(o.result.vector[0]) for o in done if isinstance(o, Done)] == [1, 50, 2, 1, 1, 50]  # type: ignore[union-attr]


async def test_the_model_is_not_asked_if_all_vectors_are_known() -> None:
    batch, texts = batch_of("a", "bb")
    texts.known = {text: np.zeros(2, "<f2") for text in ("a", "bb")}
    embedder = Lengths()
    assert all(isinstance(o, Done) for o in await embed(texts, embedder)(batch))
    assert embedder.batches == []


async def test_a_bad_text_costs_only_the_chunks_that_have_it() -> None:
    batch, texts = batch_of("bad", "known", "a", "bad")
    texts.known["known"] = np.zeros(2, "<f2")
    embedder, counted = Lengths(ValueError("bad")), Counter[str]()
    outcomes = {o.delivery.message_id: o for o in await embed(texts, embedder, counted)(batch)}
    assert [type(outcomes[d.message_id]) for d in batch] == [Failed, Done, Done, Failed]
    assert embedder.batches == [2, 1, 1]
    assert counted == {"computed": 1, "found": 1, "repeated": 0}


async def test_a_bad_text_among_known_ones_costs_only_itself() -> None:
    batch, texts = batch_of("known", "bad")
    texts.known["known"] = np.zeros(2, "<f2")
    outcomes = {o.delivery.message_id: o for o in await embed(texts, Lengths(ValueError("bad")))(batch)}
    assert [type(outcomes[d.message_id]) for d in batch] == [Done, Failed]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[objects.ObjectStore]:
    opened = LocalObjects(tmp_path)
    yield opened
    await opened.close()


async def body() -> AsyncIterator[bytes]:
    yield b"bytes"


async def test_remove_takes_all_objects_of_its_job_and_no_others(store: objects.ObjectStore) -> None:
    gone, kept = delivery(REMOVE_TOPIC), delivery(REMOVE_TOPIC)
    for one in (gone, kept):
        for name in ("a.txt", "b.txt"):
            await store.put(objects.object_key(one.job_id, name), body())
    for _ in range(2):  # doing it again succeeds
        [outcome] = await Remove(store)([gone])
        assert isinstance(outcome, Done)
    left = {found.key async for found in store.list(objects.UPLOADS)}
    assert left == {objects.object_key(kept.job_id, name) for name in ("a.txt", "b.txt")}


async def test_remove_reports_a_store_that_is_down(store: objects.ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file where a folder must be")
    [outcome] = await Remove(store)([delivery(REMOVE_TOPIC)])
    assert isinstance(outcome, Failed)
