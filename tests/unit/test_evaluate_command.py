"""The evaluate command without a server: what is wrong with its input is said in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from datadistiller import errors
from datadistiller.cli import evaluate

RUNNER = CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("evaluate")(evaluate.command)
    return app


def _collection(folder: Path) -> Path:
    (folder / "corpus.jsonl").write_text('{"_id": "d", "text": "Bread is baked."}\n')
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "What is baked?"}\n')
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    return folder


def test_a_folder_without_a_collection(app: typer.Typer, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"corpus\.jsonl"):
        RUNNER.invoke(app, [str(tmp_path)], catch_exceptions=False)


def test_a_server_that_is_named_must_answer(app: typer.Typer, tmp_path: Path) -> None:
    with_url = [str(_collection(tmp_path)), "--url", "http://127.0.0.1:9", "--json"]
    with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1:9"):
        RUNNER.invoke(app, with_url, catch_exceptions=False)


@pytest.mark.parametrize("wrong", [["--mode", "fuzzy"], ["--limit-queries", "0"]])
def test_options_are_checked(app: typer.Typer, tmp_path: Path, wrong: list[str]) -> None:
    assert RUNNER.invoke(app, [str(_collection(tmp_path)), *wrong]).exit_code == 2
