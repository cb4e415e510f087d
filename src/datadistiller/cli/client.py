"""The HTTP client of the command line: errors become ours, waiting is bounded, uploads are streamed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

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
#: How long an answer is waited for, seconds.
ANSWER_SECONDS = 60.0

Url = Annotated[str, typer.Option("--url", envvar="DATADISTILLER_URL", help="The server.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Job = Annotated[str, typer.Argument(metavar="JOB", help="The job id an upload was answered with.")]


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
        patient: bool = False,
        answer_seconds: float | None = ANSWER_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._patient = patient
        timeout = httpx.Timeout(ANSWER_SECONDS, read=answer_seconds)
        try:
            self._http = httpx.Client(base_url=self.url, headers=authorization(), timeout=timeout, transport=transport)
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

    def upload(self, path: Path, fields: dict[str, str]) -> Any:
        """Uploads one file, streamed. Raises OSError if the file cannot be read."""

        def send() -> httpx.Response:
            with path.open("rb") as content:
                return self._http.post("/api/v2/documents/upload", files={"file": (path.name, content)}, data=fields)

        return _checked(self._send(send))

    def events(self, job: str) -> Iterator[dict[str, Any]]:
        """The statuses of a job as they change, the current one first, until it is finished."""
        try:
            with self._http.stream("GET", f"/api/v2/documents/status/{job}/events", timeout=None) as answer:
                if answer.is_error:
                    answer.read()
                    _checked(answer)
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
        except httpx.TransportError as error:
            raise ServerGone(f"The connection to {self.url} broke ({type(error).__name__}).") from error

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


def authorization() -> dict[str, str]:
    """The header with the API key of the settings, if there is one."""
    key = configuration.load().api_key.get_secret_value()
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
    if not answer.is_error:
        return answer.json() if answer.content else None
    try:
        problem = answer.json()
        kind = errors.JobNotFound if problem["code"] == errors.JobNotFound.code else errors.RequestError
        raise kind(str(problem["detail"]), hint=str(problem["hint"]))
    except (ValueError, KeyError, TypeError) as error:
        raise errors.RequestError(
            f"The server answered {answer.status_code} without an explanation.", hint="Is it a DataDistiller?"
        ) from error
