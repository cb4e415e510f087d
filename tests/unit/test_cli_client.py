"""The command line's client: problems become sentences, waiting is bounded, nothing is sent twice by the impatient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from datadistiller import errors
from datadistiller.cli import client

URL = "http://server.example"
PROBLEM = {"code": "conflict", "detail": "The job is finished.", "hint": "Look at its status first."}
Handler = Callable[[httpx.Request], httpx.Response]


def connected(handler: Handler, *, patient: bool = False) -> client.Client:
    """A client whose server is a function (httpx's own test transport)."""
    return client.Client(URL, patient=patient, transport=httpx.MockTransport(handler))


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's pauses, which take no time here: a test shall not wait a minute."""
    pauses: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(client.time, "sleep", sleep)
    monkeypatch.setattr(client.time, "monotonic", lambda: now[0])
    return pauses


def test_a_problem_is_a_sentence_and_a_hint() -> None:
    with connected(lambda _: httpx.Response(409, json=PROBLEM)) as server, pytest.raises(errors.RequestError) as caught:
        server.post("/api/v2/documents/x/cancel")
    assert caught.value.message == PROBLEM["detail"]
    assert caught.value.hint == PROBLEM["hint"]


def test_an_unknown_document_can_be_told_apart() -> None:
    gone = {**PROBLEM, "code": "job_not_found"}
    with connected(lambda _: httpx.Response(404, json=gone)) as server, pytest.raises(errors.JobNotFound):
        server.get("/api/v2/documents/status/x")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(502, text="<html>"), "502"),
        (httpx.Response(302, headers={"Location": "/login"}), "302"),
        (httpx.Response(200, text="<html>"), "no JSON"),
    ],
)
def test_an_answer_of_a_stranger_is_a_sentence_too(answer: httpx.Response, says: str) -> None:
    with connected(lambda _: answer) as server, pytest.raises(errors.RequestError) as caught:
        server.get("/api/v2/documents")
    assert says in caught.value.message


def test_no_server_says_what_to_do() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with connected(refuse) as server, pytest.raises(client.ServerGone) as caught:
        server.get("/livez")
    assert URL in caught.value.message
    assert "datadistiller up" in caught.value.hint


@pytest.mark.parametrize("url", ["localhost:8000", "nonsense", "http://[::1"])
def test_a_wrong_address_is_a_sentence(url: str) -> None:
    with pytest.raises(errors.DataDistillerError), client.Client(url) as server:
        server.get("/livez")


def test_empty_parameters_are_left_out() -> None:
    seen: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(200, json={"jobs": []})

    with connected(answer) as server:
        assert server.get("/api/v2/documents", status=None, limit=3) == {"jobs": []}
    assert str(seen[0]) == f"{URL}/api/v2/documents?limit=3"


def test_a_full_server_is_asked_again_when_it_says(tmp_path: Path, slept: list[float]) -> None:
    path = tmp_path / "note.txt"
    path.write_text("a text")
    answers = [
        httpx.Response(429, headers={"Retry-After": "7"}, json=PROBLEM),
        httpx.Response(503, json=PROBLEM),
        httpx.Response(202, json={"job_id": "x"}),
    ]
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        return answers.pop(0)

    with connected(answer, patient=True) as server:
        assert server.upload(path, {"collection": "c"}) == {"job_id": "x"}
    assert slept == [7.0, 1.0]
    assert all(b"a text" in body and b'filename="note.txt"' in body for body in bodies)


def test_the_impatient_are_told_at_once(slept: list[float]) -> None:
    with connected(lambda _: httpx.Response(503, json=PROBLEM)) as server, pytest.raises(errors.RequestError):
        server.get("/api/v2/documents")
    assert not slept


def test_patience_ends(slept: list[float]) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with connected(refuse, patient=True) as server, pytest.raises(client.ServerGone):
        server.get("/livez")
    assert client.GONE_SECONDS <= sum(slept) < client.GONE_SECONDS + 5
    slept.clear()
    with (
        connected(lambda _: httpx.Response(429, headers={"Retry-After": "3600"}, json=PROBLEM), patient=True) as server,
        pytest.raises(errors.RequestError),
    ):
        server.get("/api/v2/documents")
    assert max(slept) == client.LONGEST_PAUSE
    assert sum(slept) <= client.PATIENCE_SECONDS + client.LONGEST_PAUSE


def test_events_are_read_until_they_end() -> None:
    status = 'event: status\ndata: {"status": "%s"}\n\n'
    stream = "id: 1\n" + status % "pending" + ": keep-alive\n\n" + status % "failed"
    with connected(lambda _: httpx.Response(200, text=stream)) as server:
        assert [event["status"] for event in server.events("x")] == ["pending", "failed"]


EVENT = 'id: {n}\nevent: status\ndata: {{"status": "{status}"}}\n\n'


def stream(*statuses: str, first: int = 1) -> httpx.Response:
    return httpx.Response(200, text="".join(EVENT.format(n=n, status=s) for n, s in enumerate(statuses, first)))


def test_events_go_on_after_a_restart_of_the_server(slept: list[float]) -> None:
    progress = httpx.Response(200, text='event: progress\ndata: {"status": "embedding"}\n\n')
    refused = httpx.ConnectError("refused")
    answers: list[httpx.Response | Exception] = [
        stream("pending", "processing"), refused, httpx.Response(503, json=PROBLEM), progress,
        stream("embedding", "completed", first=4),
    ]  # fmt: skip
    asked_after: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked_after.append(request.headers.get("Last-Event-ID"))
        now = answers.pop(0)
        if isinstance(now, Exception):
            raise now
        return now

    with connected(answer) as server:
        states = [event["status"] for event in server.events("x")]
    assert states == ["pending", "processing", "embedding", "embedding", "completed"]
    assert asked_after == [None, "2", "2", "2", "2"]
    assert not answers


def test_a_server_that_stays_away_ends_the_events(slept: list[float]) -> None:
    answers = [stream("pending")]

    def answer(request: httpx.Request) -> httpx.Response:
        if not answers:
            raise httpx.ConnectError("refused", request=request)
        return answers.pop(0)

    with connected(answer) as server, pytest.raises(client.ServerGone):
        list(server.events("x"))
    assert client.GONE_SECONDS <= sum(slept) < client.GONE_SECONDS + 5
    slept.clear()
    with connected(answer) as server, pytest.raises(client.ServerGone):
        list(server.events("x"))
    assert not slept, "a server that never answered is not waited for"


def test_a_finished_attempt_before_the_present_one_does_not_end_the_events(slept: list[float]) -> None:
    with connected(lambda _: stream("failed", "pending", "completed")) as server:
        assert [event["status"] for event in server.events("x")] == ["failed", "pending", "completed"]


def test_nothing_more_to_come_ends_the_events(slept: list[float]) -> None:
    answers = [stream("embedding"), httpx.Response(204)]
    with connected(lambda _: answers.pop(0)) as server:
        assert [event["status"] for event in server.events("x")] == ["embedding"]


def test_events_of_a_deleted_document_end_with_a_sentence() -> None:
    gone = httpx.Response(200, text="event: deleted\ndata: {}\n\n")
    with connected(lambda _: gone) as server, pytest.raises(errors.JobNotFound, match="deleted"):
        list(server.events("x"))
