"""``datadistiller verify``: takes a small document through a deployment, from upload to deletion; says what held."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from datadistiller import errors
from datadistiller.cli import client, output

#: What follows the ``pending`` that an upload is answered with.
STATUSES = ["processing", "chunking", "embedding", "completed"]
PROMISED = ("job_id", "status", "message", "filename", "file_size")
TEXT = """# The bell buoy {code}

The bell buoy {code} lies off Port Ellery and was made by 'datadistiller verify'.
It weighs {weight} kilograms, and its bell was cast in the foundry of Grey Skerry.
"""


class NotAsPromised(errors.RequestError):
    """The deployment does not do what it promises."""

    default_hint = "Run 'datadistiller doctor' on the same server; its log has more."


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one step; ``detail`` is what was seen, or what is wrong."""

    name: str
    ok: bool
    seconds: float
    detail: str


def command(
    key: client.Key = None,
    timeout: Annotated[float, typer.Option(min=1, help="How long the document may take, about, seconds.")] = 300,
    as_json: client.AsJson = False,
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """Check a deployment from end to end, in a collection of its own that is removed again. Exit code 1 if it fails."""
    steps = []
    with client.Client(url, key=key) as server:
        for step in run(server, timeout):
            steps.append(step)
            if not as_json:
                _show(step)
    if as_json:
        output.as_json([asdict(step) for step in steps])
    if not all(step.ok for step in steps):
        raise typer.Exit(1)


def _show(step: Step) -> None:
    word = output.styled("ok" if step.ok else "error")
    line = output.plain(f" {step.name:10} {step.seconds:7.2f} s  {step.detail}")
    output.console().print(word.append_text(line) if step.ok else word + line, soft_wrap=True)


def run(server: client.Client, timeout: float) -> Iterator[Step]:
    """The steps as they are done; the first that fails is the last, but for the cleaning up."""
    check = _Verification(server, timeout)
    try:
        for name, work in check.steps():
            step = _timed(name, work)
            yield step
            if not step.ok:
                break
    finally:
        cleaning = _timed("clean up", check.clean_up)
    if check.uploaded:
        yield cleaning


def _timed(name: str, work: Callable[[], str]) -> Step:
    begun = time.perf_counter()
    try:
        detail, ok = work(), True
    except errors.DataDistillerError as error:
        detail, ok = f"{error.message} {error.hint}", False
    except (KeyError, TypeError, ValueError, IndexError) as error:  # an answer is not made as it should be
        detail, ok = f"An answer of the server cannot be read: {type(error).__name__} {error}.", False
    return Step(name, ok, round(time.perf_counter() - begun, 3), detail)


class _Verification:
    """One run: what is known of the document so far, and what is done with it, in order."""

    def __init__(self, server: client.Client, timeout: float) -> None:
        self.uploaded = False  # perhaps: an upload whose answer was lost may have been accepted
        self._server = server
        self._timeout = timeout
        self._collection = f"verify-{secrets.token_hex(6)}"
        self._code = secrets.token_hex(4)
        self._weight = 100 + secrets.randbelow(900)
        self._job = ""

    def steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """What is done, by name."""
        yield "health", self._health
        yield "upload", self._upload
        yield "statuses", self._statuses
        yield "list", self._list
        yield "query", self._query
        yield "delete", self._delete
        yield "gone", self._gone

    def clean_up(self) -> str:
        """Deletes what this run left in its collection: nothing, if all went well."""
        if not self.uploaded:
            return ""
        try:
            left = self._listed()
            for job in left:
                self._server.delete(f"/api/v2/documents/{job['job_id']}")
        except errors.DataDistillerError as error:
            hint = f"Delete it later with 'datadistiller delete --collection {self._collection}'."
            raise NotAsPromised(f"The document may still be there. {error.message}", hint=hint) from error
        return "the document was deleted" if left else "nothing was left"

    def _health(self) -> str:
        health = self._server.health()
        down = [f"{name}: {health[name]['detail']}" for name in health["down"]]
        _expect(health["status"] == "healthy", f"It is {health['status']}. {' '.join(down)}")
        roles = ", ".join(f"{count} {role}" for role, count in sorted(health["workers"]["roles"].items()))
        return f"{health['version']} with {roles}"

    def _upload(self) -> str:
        self.uploaded = True
        with tempfile.TemporaryDirectory(prefix="datadistiller-") as folder:
            path = Path(folder) / f"verify-{self._code}.md"
            path.write_text(TEXT.format(code=self._code, weight=self._weight), encoding="utf-8")
            size = path.stat().st_size
            accepted = self._server.upload(path, {"collection": self._collection})
        missing = [name for name in PROMISED if name not in accepted]
        _expect(not missing, f"The answer to the upload lacks {', '.join(missing)}.")
        _expect(accepted["status"] == "pending", f"The upload was answered with '{accepted['status']}'.")
        _expect(accepted["file_size"] == size, f"{size} bytes were sent, {accepted['file_size']} were accepted.")
        self._job = accepted["job_id"]
        return f"{size} bytes as job {self._job}"

    def _statuses(self) -> str:
        """The stream is asked for all that came after the first event, so that none is missed however late it opens."""
        until = time.monotonic() + self._timeout
        seen: list[str] = []
        for name, state in self._server.watch(self._job, after="1"):
            if name == "status":
                seen.append(state["status"])
                reason = output.reason(state)
                _expect(seen == STATUSES[: len(seen)], f"The statuses were {', '.join(seen)}. {reason}".rstrip())
            waits = seen[-1] if seen else "pending"
            if time.monotonic() > until:
                raise NotAsPromised(f"It is still {waits} after {self._timeout:.0f} s.")
        _expect(seen == STATUSES, f"The statuses ended with {', '.join(seen) or 'none'}.")
        return " → ".join(["pending", *seen])

    def _list(self) -> str:
        listed = [(job["job_id"], job["status"], job["progress"]) for job in self._listed()]
        _expect(listed == [(self._job, "completed", 100)], f"The list of the collection is {listed}.")
        state = self._server.get(f"/api/v2/documents/status/{self._job}")
        chunks = (state["processed_chunks"], state["total_chunks"])
        _expect(chunks[0] == chunks[1] > 0, f"{chunks[0]} of {chunks[1]} chunks are processed.")
        return f"{chunks[1]} chunk{'s' if chunks[1] > 1 else ''}, all processed"

    def _query(self) -> str:
        answer = self._ask()
        citations = answer["citations"]
        _expect(bool(citations), "The question found nothing.")
        for citation in citations:
            _expect(citation["job_id"] == self._job, "A document of another collection is cited.")
            page = self._server.get(f"/api/v2/documents/{self._job}/pages/{citation['page']}")["text"]
            true = page[citation["start"] : citation["end"]] == citation["text"]
            _expect(true, f"The text of citation {citation['number']} is not what stands at its place.")
        found = f"{self._weight} kilograms"
        _expect(found in citations[0]["text"], "The first citation does not hold what was asked for.")
        _expect(found in (answer["answer"] or ""), "The answer does not hold what was asked for.")
        first = citations[0]
        return f"{first['filename']}, page {first['page']}, characters {first['start']}-{first['end']}: true"

    def _delete(self) -> str:
        self._server.delete(f"/api/v2/documents/{self._job}")
        return "answered"

    def _gone(self) -> str:
        _expect(not self._listed(), "The list still shows the document.")
        _expect(not self._ask()["citations"], "The document is still cited.")
        try:
            self._server.get(f"/api/v2/documents/status/{self._job}")
        except errors.JobNotFound:
            return "from list, status and query"
        raise NotAsPromised("The document still has a status.")

    def _listed(self) -> list[dict[str, Any]]:
        return list(self._server.get("/api/v2/documents", collection=self._collection)["jobs"])

    def _ask(self) -> dict[str, Any]:
        question = f"How much does the bell buoy {self._code} weigh?"
        return dict(self._server.post("/api/v2/query", {"question": question, "collection": self._collection}))


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise NotAsPromised(otherwise)
