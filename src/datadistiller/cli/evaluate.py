"""``datadistiller evaluate DIR``: how well a test collection is searched, through the same HTTP API everybody uses."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from datadistiller import errors
from datadistiller.cli import client, ephemeral
from datadistiller.model import Mode, Status
from datadistiller.query import evaluation

DEFAULT_URL = "http://127.0.0.1:8000"
#: Chunks asked for per question: the server's limit. Several may be of one document.
TOP_K = 100
#: Requests in flight while documents go in.
PARALLEL = 8
POLL_SECONDS = 0.25
#: How often a server that is full is asked again.
PATIENCE = 1000

_Item = TypeVar("_Item")
_Tick = Callable[[], object]


@dataclass(slots=True)
class _Uploaded:
    """What went in: which documents each job is (equal texts are one job), and what could not be done."""

    documents: dict[str, list[str]] = field(default_factory=dict)  # document ids by job id
    failed: dict[str, str] = field(default_factory=dict)  # reason by document id


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with corpus.jsonl, queries.jsonl and qrels.tsv.")
    ],
    mode: Annotated[Mode, typer.Option(help="How questions are matched with chunks.")] = Mode.HYBRID,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    url: Annotated[
        str | None,
        typer.Option(envvar="DATADISTILLER_URL", help="The server; default: a running one, or one of its own."),
    ] = None,
    limit_queries: Annotated[int | None, typer.Option(min=1, help="Ask only the first N questions.")] = None,
) -> None:
    """Measure search quality and latency on a test collection, in a scratch collection that is removed again."""
    console = Console(stderr=True)
    collection = evaluation.read_collection(folder)
    questions = dict(itertools.islice(collection.judged.items(), limit_queries))
    with _server(url, console) as base, _progress(console) as progress:
        measured = asyncio.run(_Evaluation(base, progress).run(collection, questions, mode))
    report: dict[str, Any] = {"collection": folder.resolve().name, "mode": mode.value, **measured}
    if as_json:
        typer.echo(json.dumps(report))
    else:
        Console().print(_table(report))


@contextlib.contextmanager
def _server(url: str | None, console: Console) -> Iterator[str]:
    """The server named, else one that runs, else one of our own."""
    if url is not None or ephemeral.is_ready(DEFAULT_URL):
        yield (url or DEFAULT_URL).rstrip("/")
        return
    console.print(f"No server at {DEFAULT_URL}: a temporary one is started.", highlight=False)
    with ephemeral.server() as own:
        yield own


def _progress(console: Console) -> Progress:
    bar = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*bar, console=console, transient=True)


def _table(report: dict[str, Any]) -> Table:
    table = Table(title=f"{report['collection']}, {report['mode']} search", show_header=False)
    for name, value in report.items():
        if name not in ("collection", "mode", "problems"):
            table.add_row(name, f"{value:.4f}" if "@" in name else f"{value:,}", style="bold" if "@" in name else "")
    for problem in report["problems"]:
        table.add_row("not searchable", problem, style="red")
    return table


class _Evaluation:
    """One run against one server."""

    def __init__(self, url: str, progress: Progress) -> None:
        self._url = url
        self._progress = progress
        self._scratch = f"evaluate-{uuid.uuid4().hex[:12]}"

    async def run(self, collection: evaluation.TestCollection, questions: dict[str, str], mode: Mode) -> dict[str, Any]:
        """Uploads, waits, asks, cleans up; returns the figures."""
        limits = httpx.Limits(max_connections=PARALLEL)
        async with httpx.AsyncClient(base_url=self._url, timeout=120, limits=limits) as http:
            uploaded = _Uploaded()
            try:
                begun = time.perf_counter()
                await self._take_in(http, collection, uploaded)
                seconds = time.perf_counter() - begun
                _check(collection, uploaded)
                run, took = await self._ask_all(http, questions, mode, uploaded)
            finally:
                await _whole(self._clean_up(http, uploaded))
        qrels = {query: collection.qrels[query] for query in questions}
        return {
            "documents": len(collection.documents),
            "not_searchable": len(uploaded.failed),
            "queries": len(questions),
            **{name: round(value, 4) for name, value in evaluation.measure(run, qrels).items()},
            "p50_ms": round(evaluation.percentile(took, 0.5), 2),
            "p95_ms": round(evaluation.percentile(took, 0.95), 2),
            "ingest_seconds": round(seconds, 1),
            "problems": [f"{doc}: {why}" for doc, why in itertools.islice(uploaded.failed.items(), 10)],
        }

    async def _take_in(
        self, http: httpx.AsyncClient, collection: evaluation.TestCollection, uploaded: _Uploaded
    ) -> None:
        async def upload(document: evaluation.Document) -> None:
            if not document.markdown.strip():
                uploaded.failed[document.doc_id] = "it is empty"
                return
            # The name says nothing, because a name becomes part of what is searched where there is no title.
            files = {"file": ("document.md", document.markdown.encode(), "text/markdown")}
            form = {"collection": self._scratch, "priority": "bulk"}
            body = await _call(http, "POST", "/api/v2/documents/upload", files=files, data=form)
            uploaded.documents.setdefault(body["job_id"], []).append(document.doc_id)

        async def wait(job_id: str) -> None:
            while True:
                body = await _call(http, "GET", f"/api/v2/documents/status/{job_id}")
                if Status(body["status"]).terminal:
                    break
                await asyncio.sleep(POLL_SECONDS)
            if body["status"] != Status.COMPLETED:
                why = (body.get("error") or {}).get("message", body["status"])
                uploaded.failed.update(dict.fromkeys(uploaded.documents[job_id], why))

        await self._each("uploading", list(collection.documents), upload)
        await self._each("indexing", list(uploaded.documents), wait)

    async def _ask_all(
        self, http: httpx.AsyncClient, questions: dict[str, str], mode: Mode, uploaded: _Uploaded
    ) -> tuple[dict[str, dict[str, float]], list[float]]:
        """Best chunk per document and question; milliseconds per question, one after the other."""
        run: dict[str, dict[str, float]] = {}
        took: list[float] = []
        task = self._progress.add_task("asking", total=len(questions))
        for query, question in questions.items():
            asked = {"question": question, "top_k": TOP_K, "mode": mode, "answer": False, "collection": self._scratch}
            begun = time.perf_counter()
            body = await _call(http, "POST", "/api/v2/query", json=asked)
            took.append(1000 * (time.perf_counter() - begun))
            scores = run.setdefault(query, {})
            for citation in body["citations"]:
                for doc in uploaded.documents.get(citation["job_id"], ()):
                    scores[doc] = max(scores.get(doc, -1.0), citation["score"])
            self._progress.advance(task)
        return run, took

    async def _clean_up(self, http: httpx.AsyncClient, uploaded: _Uploaded) -> None:
        """Removes the scratch collection; what is gone already is fine."""

        async def delete(job_id: str) -> None:
            with contextlib.suppress(httpx.HTTPError):
                await http.delete(f"/api/v2/documents/{job_id}")

        await self._each("removing", list(uploaded.documents), delete)
        # An upload in flight when Ctrl-C came may have been accepted all the same, a moment later.
        for _ in range(2):
            await asyncio.sleep(POLL_SECONDS)
            await _bounded(await self._left(http), delete, lambda: None)

    async def _left(self, http: httpx.AsyncClient) -> list[str]:
        """The job ids that are still in the scratch collection; none if the server does not say."""
        try:
            answer = await http.get("/api/v2/documents", params={"collection": self._scratch, "limit": 200})
            return [job["job_id"] for job in answer.json()["jobs"]]
        except (httpx.HTTPError, ValueError, KeyError):
            return []

    async def _each(self, name: str, items: list[_Item], work: Callable[[_Item], Awaitable[None]]) -> None:
        """Does the work for every item, a few at once, with a progress bar."""
        task = self._progress.add_task(name, total=len(items))
        await _bounded(items, work, lambda: self._progress.advance(task))


def _check(collection: evaluation.TestCollection, uploaded: _Uploaded) -> None:
    """Figures of nothing are no figures: raises RequestError if there is no document to find."""
    if all(document.doc_id in uploaded.failed for document in collection.documents):
        why = next(iter(uploaded.failed.values()))
        raise errors.RequestError(f"No document became searchable: {why}", hint="See the log of the server.")


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Does the work to its end, also if Ctrl-C comes in the middle of it."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _bounded(items: Iterable[_Item], work: Callable[[_Item], Awaitable[None]], tick: _Tick) -> None:
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await work(item)
            tick()

    workers = [asyncio.create_task(worker()) for _ in range(PARALLEL)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _call(http: httpx.AsyncClient, method: str, path: str, **request: Any) -> dict[str, Any]:
    """The body of the response. Waits where the server says so; its problems become errors of ours."""
    for _ in range(PATIENCE):
        try:
            response = await http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise client.ServerGone(
                f"No answer from {http.base_url}: {type(error).__name__}.",
                hint="Start it with 'datadistiller up', or leave --url out to use a temporary server.",
            ) from error
        if response.status_code not in (429, 503):
            break
        await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
    if response.is_success:
        return dict(response.json())
    try:
        problem = dict(response.json())
    except ValueError:
        problem = {}
    message = problem.get("detail", f"The server answered {response.status_code} to {method} {path}.")
    raise errors.RequestError(message, hint=problem.get("hint"))
