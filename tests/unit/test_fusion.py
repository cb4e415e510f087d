"""Fusing two lists of hits: properties that hold for any lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller.indexing import Hits
from datadistiller.model import Mode
from datadistiller.query import fusion

COSINES = st.dictionaries(st.integers(1, 40), st.floats(-1, 1, width=32), max_size=20)
BM25 = st.dictionaries(st.integers(1, 40), st.floats(0, 30, width=32), max_size=20)


def hits(scores: dict[int, float], order: list[int] | None = None) -> Hits:
    numbers = order if order is not None else sorted(scores, key=lambda n: -scores[n])
    return Hits(np.array(numbers, np.int64), np.array([scores[n] for n in numbers], np.float32))


@given(COSINES, BM25, st.sampled_from(Mode))
def test_every_chunk_found_is_there_once_best_first(a: dict[int, float], b: dict[int, float], mode: Mode) -> None:
    found = fusion.fuse(hits(a), hits(b), mode)
    assert sorted(found.numbers.tolist()) == sorted(a.keys() | b.keys())
    assert np.all(np.diff(found.scores) <= 0)
    assert np.all(np.isfinite(found.scores))
    ties = np.diff(found.scores) == 0
    assert np.all(np.diff(found.numbers)[ties] > 0)


@given(COSINES, BM25, st.randoms())
def test_the_order_of_the_lists_does_not_matter(a: dict[int, float], b: dict[int, float], random: object) -> None:
    shuffled_a, shuffled_b = list(a), list(b)
    random.shuffle(shuffled_a)  # type: ignore[attr-defined]
    random.shuffle(shuffled_b)  # type: ignore[attr-defined]
    one, other = fusion.fuse(hits(a), hits(b)), fusion.fuse(hits(a, shuffled_a), hits(b, shuffled_b))
    assert np.array_equal(one.numbers, other.numbers)
    assert np.array_equal(one.scores, other.scores)
    assert np.array_equal(one.similarities, other.similarities, equal_nan=True)


@given(COSINES, BM25, st.data())
def test_a_better_score_never_ranks_a_chunk_lower(
    a: dict[int, float], b: dict[int, float], data: st.DataObject
) -> None:
    lists = [scores for scores in (a, b) if scores]
    if not lists:
        return
    raised = data.draw(st.sampled_from(lists))
    number = data.draw(st.sampled_from(sorted(raised)))
    before = fusion.fuse(hits(a), hits(b)).numbers.tolist().index(number)
    raised[number] = data.draw(st.floats(raised[number], 1 if raised is a else 60, width=32))
    assert fusion.fuse(hits(a), hits(b)).numbers.tolist().index(number) <= before


@given(COSINES, BM25)
def test_similarity_is_the_cosine_where_known(a: dict[int, float], b: dict[int, float]) -> None:
    found = fusion.fuse(hits(a), hits(b))
    for number, cosine in zip(found.numbers.tolist(), found.similarities.tolist(), strict=True):
        assert cosine == a[number] if number in a else np.isnan(cosine)


def test_a_chunk_found_by_both_beats_chunks_found_by_one() -> None:
    found = fusion.fuse(hits({1: 0.6, 2: 0.6}), hits({2: 10.0, 3: 10.0}))
    assert found.numbers.tolist()[0] == 2


def test_the_best_keywords_decide_where_cosines_are_close() -> None:
    found = fusion.fuse(hits({1: 0.41, 2: 0.40}), hits({2: 12.0}))
    assert found.numbers.tolist() == [2, 1]


def test_a_repeated_number_counts_once_with_its_best_score() -> None:
    twice = Hits(np.array([5, 5], np.int64), np.array([0.2, 0.8], np.float32))
    found = fusion.fuse(twice, fusion.NO_HITS, Mode.VECTOR)
    assert found.numbers.tolist() == [5]
    assert found.scores[0] == pytest.approx(0.8)


def test_nothing_found_is_nothing_fused() -> None:
    assert len(fusion.fuse(fusion.NO_HITS, fusion.NO_HITS).numbers) == 0
