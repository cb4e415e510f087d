"""``datadistiller evaluate`` without a server that is there; ``test_journey`` has it on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = str(Path(__file__).parents[2] / "src")
DOCUMENTS = {
    "bread": ("Rye bread", "Rye bread is baked from sourdough over a wood fire. The crust turns dark."),
    "tower": ("Lighthouse", "The lighthouse was built in 1849 on a rock above the sea."),
    "twin": ("Lighthouse", "The lighthouse was built in 1849 on a rock above the sea."),
    "bridge": ("", "The railway bridge across the river was opened to traffic in 1868."),
    "empty": ("", ""),
}


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    return judged_collection(tmp_path)


def judged_collection(folder: Path) -> Path:
    """Writes a small collection with questions and judgements."""
    corpus = [{"_id": key, "title": title, "text": text} for key, (title, text) in DOCUMENTS.items()]
    queries = [
        {"_id": "q1", "text": "How is rye bread baked?"},
        {"_id": "q2", "text": "When was the lighthouse built?"},
        {"_id": "q3", "text": "Which bridge carries a railway?"},
        {"_id": "q4", "text": "Nobody judged this one."},
    ]
    for name, records in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    judged = "q1\tbread\t1\nq2\ttower\t2\nq2\ttwin\t2\nq3\tbridge\t1\n"
    (folder / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", encoding="utf-8")
    return folder


def evaluate(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "datadistiller", "evaluate", str(folder), *options]
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    environment.pop("DATADISTILLER_URL", None)
    return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=300, check=False)


def test_without_a_server_it_brings_its_own(collection: Path) -> None:
    done = evaluate(collection, "--limit-queries", "2")
    assert done.returncode == 0, done.stderr
    assert "ndcg@10" in done.stdout
    assert "empty: it is empty" in done.stdout


def test_an_error_is_one_sentence(collection: Path) -> None:
    (collection / "qrels.tsv").unlink()
    done = evaluate(collection)
    assert done.returncode == 1
    assert "qrels.tsv" in done.stderr
    assert "Traceback" not in done.stderr
