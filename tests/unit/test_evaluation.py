"""The metrics against values worked out by hand, and the reading of test collections."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import errors
from datadistiller.query import evaluation

GRADES = {"a": 2.0, "b": 1.0, "c": 1.0, "z": 0.0, "y": -1.0}


def test_ndcg_of_graded_judgements() -> None:
    scores = {"b": 0.9, "x": 0.8, "a": 0.7}  # gains 1, 0, 2
    found = 1 + 2 / math.log2(4)
    ideal = 2 + 1 / math.log2(3) + 1 / math.log2(4)
    assert evaluation.ndcg(scores, GRADES, 10) == pytest.approx(found / ideal)
    assert evaluation.ndcg(scores, GRADES, 1) == pytest.approx(1 / 2)


def test_a_perfect_ranking_is_one_and_bad_grades_gain_nothing() -> None:
    assert evaluation.ndcg({"a": 3, "b": 2, "c": 1}, GRADES, 10) == pytest.approx(1)
    assert evaluation.ndcg({"z": 3, "y": 2}, GRADES, 10) == 0


def test_equal_scores_are_ranked_by_descending_id() -> None:
    assert evaluation.ranked({"a": 1.0, "c": 1.0, "b": 2.0}) == ["b", "c", "a"]
    assert evaluation.reciprocal_rank({"a": 1.0, "x": 1.0}, {"a": 1.0}, 10) == 1 / 2


def test_recall_and_reciprocal_rank() -> None:
    scores = {"x": 5, "b": 4, "z": 3, "a": 2}
    assert evaluation.recall(scores, GRADES, 2) == pytest.approx(1 / 3)
    assert evaluation.recall(scores, GRADES, 100) == pytest.approx(2 / 3)
    assert evaluation.reciprocal_rank(scores, GRADES, 10) == 1 / 2
    assert evaluation.reciprocal_rank(scores, GRADES, 1) == 0


def test_means_count_unanswered_questions_but_not_unjudged_ones() -> None:
    qrels = {"q1": {"a": 1.0}, "q2": {"b": 1.0}, "q3": {"c": 0.0}}
    means = evaluation.measure({"q1": {"a": 1.0}, "q3": {"c": 1.0}, "q4": {"a": 1.0}}, qrels)
    assert means == {"ndcg@10": 0.5, "recall@5": 0.5, "recall@10": 0.5, "recall@100": 0.5, "mrr@10": 0.5}
    assert evaluation.measure({}, {})["ndcg@10"] == 0


@given(
    st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=20),
    st.dictionaries(st.text(max_size=3), st.sampled_from([-1.0, 0.0, 1.0, 2.0]), max_size=20),
    st.integers(1, 30),
)
def test_metrics_stay_between_zero_and_one(scores: dict[str, float], grades: dict[str, float], k: int) -> None:
    for metric in (evaluation.ndcg, evaluation.recall, evaluation.reciprocal_rank):
        assert 0 <= metric(scores, grades, k) <= 1 + 1e-9


def test_percentiles_are_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert evaluation.percentile(values, 0.5) == 50
    assert evaluation.percentile(values, 0.95) == 95
    assert evaluation.percentile([7.0], 0.95) == 7
    assert evaluation.percentile([], 0.5) == 0


def _write(folder: Path, **files: str) -> Path:
    names = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}
    contents = {
        "corpus": '{"_id": 1, "title": "One\\n title", "text": "First."}\n\n{"_id": "2", "text": "Second."}\n',
        "queries": '{"_id": "q", "text": "Which?"}\n{"_id": "r", "text": "Unjudged?"}\n',
        "qrels": "query-id\tcorpus-id\tscore\nq\t1\t2\nr\t2\t0\n",
        **files,
    }
    for key, name in names.items():
        if contents[key]:
            (folder / name).write_text(contents[key], encoding="utf-8")
    return folder


def test_a_collection_is_read(tmp_path: Path) -> None:
    found = evaluation.read_collection(_write(tmp_path))
    assert [document.doc_id for document in found.documents] == ["1", "2"]
    assert found.documents[0].markdown == "# One title\n\nFirst.\n"
    assert found.documents[1].markdown == "Second.\n"
    assert found.qrels == {"q": {"1": 2.0}, "r": {"2": 0.0}}
    assert found.judged == {"q": "Which?"}


def test_trec_qrels_with_an_iteration_column_are_read(tmp_path: Path) -> None:
    assert evaluation.read_collection(_write(tmp_path, qrels="q\t0\t1\t1\n")).qrels == {"q": {"1": 1.0}}


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("corpus", "", "corpus.jsonl"),
        ("corpus", "\n", "There is no document"),
        ("corpus", "{not json", "Line 1"),
        ("corpus", '["a list"]', "Line 1"),
        ("queries", '{"_id": "q"}', "no _id or no text"),
        ("qrels", "query\tdoc\tscore\nq\t1\tmany\n", "Line 2"),
        ("qrels", "q\t1\t0\n", "no question".capitalize()),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, file: str, content: str, said: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=said):
        evaluation.read_collection(_write(tmp_path, **{file: content}))
