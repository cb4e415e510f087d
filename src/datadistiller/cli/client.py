"""The HTTP client of the command line: errors become ours, waiting is bounded, uploads are streamed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx
import typer

from datadistiller import errors
from datadistiller.cli import configuration

DEFAULT_URL = "http://127.0.0.1:8000"
FINISHED = frozenset({"completed", "partial", "failed", "cancelled"})
#: How long a full server is asked again, seconds.
PATIENCE_SECONDS = 600.0
#: A server that restarts is not there for some seconds; a patient client waits that long for its return.
GONE_SECONDS = 60.0
LONGEST_PAUSE = 30.0
#: A stream of events that is silent this long is dead, seconds: the server says something every fifteen.
SILENCE_SECONDS = 60.0
#: How long an answer is waited for, seconds.
ANSWER_SECONDS = 60.0

Url = Annotated[str, typer.Option("--url", envvar="DATADISTILLER_URL", help="The server.")]
Key = Annotated[
    str | None, typer.Option("--key", envvar="DATADISTILLER_API_KEY", help="The API key, if it asks for one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def job_id(word: str) -> str:
    """The word, if it can be a job id: anything else (an empty shell variable, say) would become part of a path."""
    try:
        return str(UUID(word))
    except ValueError:
        hint = "'datadistiller jobs' lists the documents with their ids."
        raise errors.JobNotFound(f"'{word}' is not the id of a document.", hint=hint) from None


Job = Annotated[str, typer.Argument(metavar="JOB", help="The job id an upload was answered with.", callback=job_id)]


class ServerGone(errors.Unavailable):
    """No DataDistiller answers."""

    code = "server_gone"
    default_hint = "Start it with 'datadistiller up' (or 'make up'), or name another with --url."


class Client:
    """One server. Raises ``ServerGone``, and ``errors.RequestError`` with the server's own sentence and hint.

    A ``patient`` client waits while the server is full (429, 503: as long as it says, up to ten minutes) or gone (a
    minute); all it sends can be repeated, because the same bytes are the same document. Usable from several threads.
    An answer is waited for for ``answer_seconds`` (None: for ever).
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        patient: bool = False,
        answer_seconds: float | None = ANSWER_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._patient = patient
        timeout = httpx.Timeout(ANSWER_SECONDS, read=answer_seconds)
        try:
            self._http = httpx.Client(
                base_url=self.url, headers=authorization(key), timeout=timeout, transport=transport
            )
        except httpx.InvalidURL:
            raise errors.RequestError(f"'{url}' is not a URL.", hint="It looks like http://127.0.0.1:8000.") from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **params: object) -> Any:
        """GET, the body as JSON."""
        return self._json("GET", path, params={k: v for k, v in params.items() if v is not None})

    def post(self, path: str, body: object = None) -> Any:
        """POST with a JSON body."""
        return self._json("POST", path, json=body)

    def delete(self, path: str) -> None:
        """DELETE."""
        self._json("DELETE", path)

    def upload(self, path: Path, fields: dict[str, str], document: str | None = None) -> Any:
        """Uploads one file, streamed: a new document, or a new version of one. Raises OSError if it cannot be read."""
        method, to = ("PUT", f"/api/v2/documents/{document}") if document else ("POST", "/api/v2/documents/upload")

        def send() -> httpx.Response:
            with path.open("rb") as content:
                return self._http.request(method, to, files={"file": (path.name, content)}, data=fields)

        return _checked(self._send(send))

    def health(self) -> dict[str, Any]:
        """GET /health, whether everything is up or not."""
        answer = self._send(lambda: self._http.get("/health"))
        return dict(_body(answer) if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else _checked(answer))

    def events(self, job: str) -> Iterator[dict[str, Any]]:
        """The statuses of a job as they change, the current one first, until it is finished."""
        return (state for name, state in self.watch(job) if name)

    def watch(self, job: str, after: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """What happens to a job, as the event's name and the state: what came after the event with the id ``after``,
        or all from now on. The name is empty when the server only says that it is still there.

        A stream that ends before (the server restarts, say) is taken up where it ended, for ``GONE_SECONDS``.
        """
        seen = _Seen(after)
        while not seen.over:
            reason = None
            try:
                yield from self._events_on(f"/api/v2/documents/status/{job}/events", seen)
            except httpx.TransportError as error:
                reason = error
            if seen.over:
                return
            if seen.heard_at is None or time.monotonic() - seen.heard_at > GONE_SECONDS:
                raise ServerGone(f"The connection to {self.url} broke.") from reason
            time.sleep(1.0)

    def _events_on(self, path: str, seen: _Seen) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events of one connection, after those seen."""
        headers = {"Last-Event-ID": seen.last} if seen.last else {}
        with self._http.stream("GET", path, headers=headers, timeout=SILENCE_SECONDS) as answer:
            if answer.is_error:
                answer.read()
                if seen.heard_at is None or retry_after(answer) is None:
                    _checked(answer)
                return  # it starts, and will serve in a moment
            try:
                yield from seen.read(answer)
            finally:
                seen.heard_at = time.monotonic()

    def _json(self, method: str, path: str, **more: Any) -> Any:
        return _checked(self._send(lambda: self._http.request(method, path, **more)))

    def _send(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        """Sends until there is an answer worth having, if the client is patient."""
        begun = time.monotonic()
        while True:
            try:
                answer, reason = send(), None
                pause = retry_after(answer)
            except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
                answer, reason, pause = None, error, 1.0
            waited = time.monotonic() - begun
            if answer is not None and (pause is None or not self._patient or waited > PATIENCE_SECONDS):
                return answer
            if answer is None and (not self._patient or waited > GONE_SECONDS):
                raise ServerGone(f"No DataDistiller answers at {self.url}.") from reason
            time.sleep(min(LONGEST_PAUSE, pause or 1.0))


class _Seen:
    """What was heard of a job's events, so that the next connection goes on after it."""

    def __init__(self, last: str = "") -> None:
        self.last = last  # the id of the last event that has one
        self.over = False  # nothing will follow
        self.heard_at: float | None = None  # when a stream of this job last ended

    def read(self, answer: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
        """The names and states in a stream. Raises JobNotFound if the document was deleted."""
        self.over = answer.status_code == 204
        name = number = ""
        for line in answer.iter_lines():
            field, _, value = line.partition(": ")
            if line.startswith(":"):
                yield "", {}
            elif field == "event":
                name = value
            elif field == "id":
                number = value
            elif field == "data":
                if name == "deleted":
                    raise errors.JobNotFound("The document was deleted.")
                state = json.loads(value)
                self.last, number = number or self.last, ""
                self.over = state["status"] in FINISHED
                yield name or "message", state


def authorization(key: str | None = None) -> dict[str, str]:
    """The header with this API key, or that of the settings, if there is one."""
    key = key or configuration.load().api_key.get_secret_value()
    if not key:
        return {}
    if not re.fullmatch("[!-~]+", key):
        raise errors.SetupError("The API key is not one word in ASCII.", hint="Look at DATADISTILLER_API_KEY.")
    return {"Authorization": f"Bearer {key}"}


def retry_after(answer: httpx.Response) -> float | None:
    """How long the server asks to wait, seconds; None if it does not."""
    if answer.status_code not in (429, 503):
        return None
    given = answer.headers.get("Retry-After", "")
    return float(given) if given.isdecimal() else 1.0


def _checked(answer: httpx.Response) -> Any:
    if answer.is_success:
        return _body(answer) if answer.content else None
    try:
        problem = answer.json()
        kind = errors.JobNotFound if problem["code"] == errors.JobNotFound.code else errors.RequestError
        raise kind(str(problem["detail"]), hint=str(problem["hint"]))
    except (ValueError, KeyError, TypeError) as error:
        raise errors.RequestError(
            f"The server answered {answer.status_code} without an explanation.", hint="Is it a DataDistiller?"
        ) from error


def _body(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError as error:
        raise errors.RequestError("The server's answer is no JSON.", hint="Is it a DataDistiller?") from error
