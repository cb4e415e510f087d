"""The evaluate command without a server: what is wrong with its input is said in one sentence."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
import typer
from rich.progress import Progress
from typer.testing import CliRunner

from datadistiller import errors
from datadistiller.cli import client, evaluate
from datadistiller.model import Mode
from datadistiller.query import evaluation

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
    with pytest.raises(client.ServerGone, match=r"127\.0\.0\.1:9"):
        RUNNER.invoke(app, with_url, catch_exceptions=False)


@pytest.mark.parametrize("wrong", [["--mode", "fuzzy"], ["--limit-queries", "0"]])
def test_options_are_checked(app: typer.Typer, tmp_path: Path, wrong: list[str]) -> None:
    assert RUNNER.invoke(app, [str(_collection(tmp_path)), *wrong]).exit_code == 2


async def test_without_a_searchable_document_there_are_no_figures(tmp_path: Path) -> None:
    (_collection(tmp_path) / "corpus.jsonl").write_text('{"_id": "d", "text": " "}\n')
    collection = evaluation.read_collection(tmp_path)
    run = evaluate._Evaluation("http://127.0.0.1:9", Progress(disable=True))
    with pytest.raises(errors.RequestError, match="No document became searchable: it is empty"):
        await run.run(collection, collection.judged, Mode.HYBRID)


async def test_what_was_accepted_after_an_interrupt_is_removed_too() -> None:
    there = ["late"]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            there.remove(request.url.path.rpartition("/")[2])
            return httpx.Response(204)
        assert request.url.params["collection"].startswith("evaluate-")
        return httpx.Response(200, json={"jobs": [{"job_id": job} for job in there]})

    run = evaluate._Evaluation("http://server.example", Progress(disable=True))
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://server.example") as http:
        await run._clean_up(http, evaluate._Uploaded())
    assert not there


async def test_an_interrupt_does_not_stop_the_cleaning_up() -> None:
    done = False

    async def work() -> None:
        nonlocal done
        await asyncio.sleep(0.05)
        done = True

    cleaning = asyncio.create_task(evaluate._whole(work()))
    await asyncio.sleep(0)
    cleaning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cleaning
    assert done
