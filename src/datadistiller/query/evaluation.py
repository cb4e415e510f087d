"""Pure: how good a ranking is, and how a test collection is laid out.

The metrics are those of trec_eval: gains are the judged grades, grades of 0 or less are not relevant, a query
without a relevant document does not count, one without an answer counts as 0, and documents with equal
scores are ranked by descending id, so that a figure never depends on the order they arrived in.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadistiller import errors

#: Grades by query id, then document id.
Qrels = Mapping[str, Mapping[str, float]]
#: Scores by query id, then document id.
Run = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a test collection."""

    doc_id: str
    title: str
    text: str

    @property
    def markdown(self) -> str:
        """The document as it is uploaded: the title as its first heading."""
        title = " ".join(self.title.split())
        return f"# {title}\n\n{self.text}\n" if title else f"{self.text}\n"


@dataclass(frozen=True, slots=True)
class TestCollection:
    """Documents, questions by id, and which documents are relevant to which question."""

    __test__ = False  # pytest would take it for a test

    documents: Sequence[Document]
    queries: Mapping[str, str]
    qrels: Qrels

    @property
    def judged(self) -> dict[str, str]:
        """The questions that have a relevant document, in their order."""
        return {
            q: text for q, text in self.queries.items() if any(grade > 0 for grade in self.qrels.get(q, {}).values())
        }


def _judged(grades: Mapping[str, float]) -> bool:
    return any(grade > 0 for grade in grades.values())


def read_collection(folder: Path) -> TestCollection:
    """Reads ``corpus.jsonl`` {_id, title?, text}, ``queries.jsonl`` {_id, text} and ``qrels.tsv``.

    The latter has a query, a document and a grade in each line, with tabs between. Raises ``errors.InvalidRequest``
    naming the file and line that is missing or wrong.
    """
    corpus = _records(folder / "corpus.jsonl")
    documents = [Document(str(r["_id"]), str(r.get("title") or "").strip(), str(r["text"]).strip()) for r in corpus]
    queries = {str(r["_id"]): str(r["text"]) for r in _records(folder / "queries.jsonl")}
    if not documents:
        raise errors.InvalidRequest(f"There is no document in {folder / 'corpus.jsonl'}.", hint="Put some in.")
    found = TestCollection(documents, queries, _read_qrels(folder / "qrels.tsv"))
    if not found.judged:
        raise errors.InvalidRequest(
            f"No question in {folder} has a relevant document.",
            hint="The ids in qrels.tsv must be those of queries.jsonl and corpus.jsonl.",
        )
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for n, line in enumerate(lines, 1):
                if line.strip():
                    yield n, line
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidRequest(
            f"{path} could not be read: {error}.",
            hint="Name a folder that holds corpus.jsonl, queries.jsonl and qrels.tsv.",
        ) from error


def _records(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for n, line in _lines(path):
        try:
            record = json.loads(line)
            if not {"_id", "text"} <= record.keys():
                raise ValueError("it has no _id or no text")
        except (ValueError, AttributeError) as error:
            raise errors.InvalidRequest(f"Line {n} of {path} is not a record with _id and text: {error}.") from error
        found.append(record)
    return found


def _read_qrels(path: Path) -> dict[str, dict[str, float]]:
    qrels: dict[str, dict[str, float]] = {}
    for n, line in _lines(path):
        fields = line.rstrip("\r\n").split("\t")
        try:
            query, document, grade = fields[0], fields[-2], float(fields[-1])  # trec puts an iteration between them
        except (ValueError, IndexError) as error:
            if n == 1:
                continue  # the header
            message = f"Line {n} of {path} is not query, document and grade, with tabs between them."
            raise errors.InvalidRequest(message) from error
        qrels.setdefault(query, {})[document] = grade
    return qrels


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Document ids, best first; of equal scores the greater id first, as trec_eval does."""
    return sorted(sorted(scores, reverse=True), key=lambda doc: -scores[doc])


def ndcg(scores: Mapping[str, float], grades: Mapping[str, float], k: int) -> float:
    """Normalised discounted cumulative gain of the first ``k`` documents, 0 to 1; linear gains."""
    gains = [max(grades.get(doc, 0.0), 0.0) for doc in ranked(scores)[:k]]
    ideal = sorted((g for g in grades.values() if g > 0), reverse=True)[:k]
    return _discounted(gains) / _discounted(ideal) if ideal else 0.0


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains))


def recall(scores: Mapping[str, float], grades: Mapping[str, float], k: int) -> float:
    """Share of the relevant documents that are among the first ``k``, 0 to 1."""
    relevant = {doc for doc, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ranked(scores)[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(scores: Mapping[str, float], grades: Mapping[str, float], k: int) -> float:
    """1 / rank of the first relevant document if it is among the first ``k``, otherwise 0."""
    for rank, doc in enumerate(ranked(scores)[:k], 1):
        if grades.get(doc, 0.0) > 0:
            return 1.0 / rank
    return 0.0


def measure(run: Run, qrels: Qrels) -> dict[str, float]:
    """Means over all questions with a relevant document: ndcg@10, recall@5, recall@10, recall@100, mrr@10."""
    judged = [query for query, grades in qrels.items() if _judged(grades)]

    def mean(metric: Any, k: int) -> float:
        return math.fsum(metric(run.get(q, {}), qrels[q], k) for q in judged) / len(judged) if judged else 0.0

    return {
        "ndcg@10": mean(ndcg, 10),
        "recall@5": mean(recall, 5),
        "recall@10": mean(recall, 10),
        "recall@100": mean(recall, 100),
        "mrr@10": mean(reciprocal_rank, 10),
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value with at least ``share`` (0-1) of the values not above it."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
