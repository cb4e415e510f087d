"""``datadistiller verify`` against deployments that break their promises: a live one keeps them (tests/acceptance)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from datadistiller.cli import client, verify

JOB = "5f0c1b1e-8a4e-4d7e-9a55-3d1f0a0c7b11"
GONE = {"code": "job_not_found", "detail": "There is no such document.", "hint": "List them."}
Answer = dict[str, Any]


@dataclass
class Deployment:
    """A server as ``verify`` sees it (httpx's own test transport); each field is a promise that may be broken."""

    down: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ("processing", "chunking", "embedding", "completed")
    spoil_upload: Callable[[Answer], object] = field(default=lambda _: None)
    spoil_list: Callable[[Answer], object] = field(default=lambda _: None)
    spoil_query: Callable[[Answer], object] = field(default=lambda _: None)
    deletes: bool = True
    forgets: bool = True  # what was deleted is cited no more
    text: str = ""
    deletions: int = 0
    asked_with: set[str] = field(default_factory=set)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked_with.add(request.headers.get("Authorization", ""))
        path = request.url.path
        for pattern, work in (
            ("/health", self.health),
            ("/upload", self.upload),
            ("/events", self.events),
            ("/query", self.query),
            ("/pages/1", lambda _: httpx.Response(200, json={"text": self.text})),
            (f"/status/{JOB}", self.status),
            ("/documents", self.listed),
            (f"/documents/{JOB}", self.delete),
        ):
            if path.endswith(pattern):
                return work(request)
        return httpx.Response(404, json=GONE)

    def health(self, _: httpx.Request) -> httpx.Response:
        parts = {name: {"status": "down", "detail": f"{name} is away."} for name in self.down}
        body = {"status": "unhealthy" if self.down else "healthy", "version": "2", "down": list(self.down), **parts}
        return httpx.Response(503 if self.down else 200, json={"workers": {"roles": {"embed": 3}}, **body})

    def upload(self, request: httpx.Request) -> httpx.Response:
        self.text = request.read().decode().split("\r\n\r\n")[-1].split("\r\n--")[0]
        accepted = {"job_id": JOB, "status": "pending", "message": "", "filename": "x.md", "file_size": len(self.text)}
        self.spoil_upload(accepted)
        return httpx.Response(202, json=accepted)

    def events(self, request: httpx.Request) -> httpx.Response:
        after = int(request.headers["Last-Event-ID"])
        if after > 1:
            return httpx.Response(204)  # nothing came after it, and nothing will
        event = 'id: {}\nevent: status\ndata: {{"status": "{}"}}\n\n'
        ahead = 'event: progress\ndata: {"status": "embedding"}\n\n: keep-alive\n\n'
        return httpx.Response(200, text=ahead + "".join(event.format(n, s) for n, s in enumerate(self.statuses, 2)))

    def query(self, _: httpx.Request) -> httpx.Response:
        weight = re.findall(r"\d+ kilograms", self.text)
        cited = {"number": 1, "job_id": JOB, "filename": "x.md", "page": 1, "start": 2, "end": len(self.text)}
        answer = {"answer": f"It weighs {weight[0]}.", "citations": [{**cited, "text": self.text[2:]}]}
        if self.deletions and self.forgets:
            answer["citations"] = []
        self.spoil_query(answer)
        return httpx.Response(200, json=answer)

    def listed(self, _: httpx.Request) -> httpx.Response:
        here = self.text and not (self.deletions and self.deletes)
        answer = {"jobs": [{"job_id": JOB, "status": "completed", "progress": 100}] if here else []}
        self.spoil_list(answer)
        return httpx.Response(200, json=answer)

    def status(self, _: httpx.Request) -> httpx.Response:
        if self.deletions and self.deletes:
            return httpx.Response(404, json=GONE)
        return httpx.Response(200, json={"total_chunks": 1, "processed_chunks": 1})

    def delete(self, _: httpx.Request) -> httpx.Response:
        self.deletions += 1
        return httpx.Response(204)

    def verified(self, key: str | None = None) -> list[verify.Step]:
        with client.Client("http://x.example", key=key, transport=httpx.MockTransport(self)) as server:
            return list(verify.run(server, 60))


def test_a_deployment_that_keeps_its_promises_passes_every_step() -> None:
    deployment = Deployment()
    steps = deployment.verified("secret")
    assert [step.name for step in steps if step.ok] == [
        "health", "upload", "statuses", "list", "query", "delete", "gone", "clean up"
    ]  # fmt: skip
    assert deployment.deletions == 1
    assert deployment.asked_with == {"Bearer secret"}
    assert "secret" not in json.dumps([step.detail for step in steps])


def without_citations(answer: Answer) -> None:
    answer["citations"] = []


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it connects again a client waits a second, in which nothing happens here."""
    monkeypatch.setattr(client.time, "sleep", lambda _: None)


BROKEN = {
    "health": ({"down": ("objects", "index")}, "objects is away. index: index is away."),
    "upload: a field": ({"spoil_upload": lambda answer: answer.pop("message")}, "lacks message"),
    "upload: a status": ({"spoil_upload": lambda answer: answer.update(status="completed")}, "with 'completed'"),
    "upload: a size": ({"spoil_upload": lambda answer: answer.update(file_size=1)}, "1 were accepted"),
    "statuses: out of order": ({"statuses": ("chunking", "processing")}, "The statuses were chunking."),
    "statuses: one is missing": ({"statuses": ("processing", "embedding")}, "were processing, embedding."),
    "statuses: failed": ({"statuses": ("processing", "failed")}, "were processing, failed."),
    "statuses: no end": ({"statuses": ("processing", "chunking")}, "ended with processing, chunking."),
    "list": ({"spoil_list": lambda answer: answer["jobs"].append(answer["jobs"][0])}, "The list of the collection"),
    "query: no citation": ({"spoil_query": without_citations}, "found nothing"),
    "query: not true": ({"spoil_query": lambda answer: answer["citations"][0].update(start=3)}, "not what stands at"),
    "query: a stranger": ({"spoil_query": lambda answer: answer["citations"][0].update(job_id="y")}, "another coll"),
    "query: no answer": ({"spoil_query": lambda answer: answer.update(answer=None)}, "The answer does not hold"),
    "query: no list": ({"spoil_query": lambda answer: answer.pop("citations")}, "cannot be read: KeyError"),
    "gone: still listed": ({"deletes": False}, "still shows the document"),
    "gone: still cited": ({"forgets": False}, "still cited"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_named_and_the_document_removed(name: str) -> None:
    broken, sentence = BROKEN[name]
    deployment = Deployment(**broken)  # type: ignore[arg-type]
    steps = [step for step in deployment.verified() if step.name != "clean up"]
    assert [step.ok for step in steps] == [True] * (len(steps) - 1) + [False]
    assert steps[-1].name == name.split(":")[0]
    assert sentence in steps[-1].detail
    assert bool(deployment.deletions) == bool(deployment.text)


def test_what_could_not_be_removed_is_said() -> None:
    deployment = Deployment(statuses=("failed",))

    def breaks_down(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/documents"):
            raise httpx.ConnectError("refused", request=request)
        return deployment(request)

    with client.Client("http://x.example", transport=httpx.MockTransport(breaks_down)) as server:
        *_, last = verify.run(server, 60)
    assert not last.ok
    assert re.search(r"datadistiller delete --collection verify-[0-9a-f]{12}'", last.detail)


def test_a_stranger_is_told_from_a_deployment() -> None:
    def login_page(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text="<html>Please sign in</html>")

    with client.Client("http://x.example", transport=httpx.MockTransport(login_page)) as server:
        (step,) = verify.run(server, 60)
    assert not step.ok
    assert "Is it a DataDistiller?" in step.detail


def test_a_document_that_takes_too_long_is_a_sentence() -> None:
    deployment = Deployment()
    with client.Client("http://x.example", transport=httpx.MockTransport(deployment)) as server:
        steps = list(verify.run(server, 0))
    assert [step.name for step in steps] == ["health", "upload", "statuses", "clean up"]
    assert "still pending after 0 s" in steps[2].detail
    assert deployment.deletions == 1
