"""What ``ingest`` asks the server while it waits, which files it takes, and what it says at the end."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import httpx
import pytest

from datadistiller.cli import client, ingest
from datadistiller.cli.records import Records


class Server:
    """Takes uploads; each list finishes the oldest ``pace`` documents that are not."""

    def __init__(self, pace: int) -> None:
        self.jobs: dict[str, str] = {}
        self.bytes: dict[str, bytes] = {}
        self.asked: list[list[str]] = []
        self._pace = pace
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # uploads come from several threads

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        job = request.url.path.rpartition("/")[2]
        if request.method == "DELETE":
            self.jobs.pop(job)
            self.bytes.pop(job)
            return httpx.Response(204)
        if request.method in ("POST", "PUT"):
            return self._take(request.method, job, request.read())
        assert request.url.path == "/api/v2/documents", "one document at a time is asked about"
        asked = request.url.params.get_list("job_id")
        self.asked.append(asked)
        for job in sorted(job for job, status in self.jobs.items() if status == "pending")[: self._pace]:
            self.jobs[job] = "completed"
        return httpx.Response(200, json={"jobs": [self._state(job) for job in asked if job in self.jobs]})

    def _take(self, method: str, job: str, body: bytes) -> httpx.Response:
        content = body.split(b"\r\n\r\n")[-1].split(b"\r\n")[0]  # the file is the form's last part
        known = next((j for j, b in self.bytes.items() if b == content), None)
        if method == "PUT" and job not in self.jobs:
            problem = {"code": "job_not_found", "detail": "There is none.", "hint": "Look."}
            return httpx.Response(404, json=problem)
        duplicate = known is not None if method == "POST" else known == job
        if method == "POST":
            job = known or f"job-{next(self._numbers):04}"
        if not duplicate:
            self.jobs[job], self.bytes[job] = "pending", content
        return httpx.Response(202, json={"job_id": job, "status": "pending", "duplicate": duplicate})

    def _state(self, job: str) -> dict[str, object]:
        return {"job_id": job, "status": self.jobs[job], "progress": 7, "processed_chunks": 3, "error": None}


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where records are kept."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


def connected(server: Server) -> client.Client:
    return client.Client("http://server.example", transport=httpx.MockTransport(server))


def target(http: client.Client, password: str = "") -> ingest.Target:
    return ingest.Target(http, "c", Records(http.url, "c"), password)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{n}.txt" for n in range(250)]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_many_documents_cost_few_requests(files: list[Path]) -> None:
    server = Server(pace=10_000)
    with connected(server) as http:
        uploads = ingest.take_in(target(http), files, quiet=True)
    assert [upload.status for upload in uploads] == ["completed"] * 250
    assert max(len(asked) for asked in server.asked) <= ingest.BATCH
    asked = list(itertools.chain.from_iterable(server.asked))
    assert len(asked) == len(set(asked)) == 250, "who is finished is not asked about again"


def test_a_password_goes_with_each_file(files: list[Path]) -> None:
    sent: list[bytes] = []
    server = Server(pace=10)

    def noting(request: httpx.Request) -> httpx.Response:
        if request.method in ("POST", "PUT"):
            sent.append(request.read())
        return server(request)

    with client.Client("http://server.example", transport=httpx.MockTransport(noting)) as http:
        for password in ("hunter2-of-the-files", ""):
            ingest.take_in(target(http, password), files[:2], quiet=True)
    assert [b"hunter2-of-the-files" in body for body in sent] == [True, True, False, False]
    assert [b'name="password"' in body for body in sent] == [True, True, False, False]
    assert "hunter2" not in repr(target(http, "hunter2-of-the-files"))


def test_one_pass_asks_once_while_the_oldest_are_not_finished() -> None:
    server = Server(pace=30)
    server.jobs = {f"job-{n:04}": "pending" for n in range(250)}
    uploads = [ingest.Upload(Path(job), 1, job_id=job) for job in server.jobs]
    with connected(server) as http:
        ingest.refresh(http, uploads)
        ingest.refresh(http, uploads)
    assert [asked[0] for asked in server.asked] == ["job-0000", "job-0030"]
    assert sum(upload.finished for upload in uploads) == 60


def test_the_more_wait_the_rarer_they_are_asked_about() -> None:
    waiting = [ingest.Upload(Path("x"), 1, job_id=str(n)) for n in range(1000)]
    pauses = [ingest.pause(waiting[:n]) for n in (0, 1, 50, 100, 1000)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (ingest.POLL_SECONDS, ingest.MAX_POLL_SECONDS)


def test_the_summary_names_the_job_that_retry_wants(capsys: pytest.CaptureFixture[str]) -> None:
    job = "5f0c1b1e-8a4e-4d7e-9a55-3d1f0a0c7b11"
    error = {"message": "The document holds no text.", "hint": "Run OCR."}
    uploads = [ingest.Upload(Path("a.pdf"), 10, job_id=job, job={"status": "failed", "error": error})]
    ingest.report(uploads, as_json=False)
    shown = capsys.readouterr().out
    assert job in shown and "no text" in shown


@pytest.mark.parametrize(
    ("inside", "code", "silent"), [("a.png", "no_text", True), ("a.png", "damaged", False), ("", "no_text", False)]
)
def test_what_came_with_a_mail_and_holds_no_text_is_no_failure(
    capsys: pytest.CaptureFixture[str], inside: str, code: str, silent: bool
) -> None:
    job = {"status": "failed", "error": {"code": code, "message": "No.", "hint": "Look."}, "processed_chunks": 0}
    good = ingest.Upload(Path("a.eml"), 9, "1", {"status": "completed"})
    child = ingest.Upload(Path("a.eml"), 9, "2", job, inside=inside)
    assert (child.silent, child.good, good.silent) == (silent, False, False)
    ingest.report([good, child], as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 files are searchable." in said
    assert ("1 attached or packed file holds no text." in said) is silent


def test_what_lies_in_an_archive_is_waited_for_too(tmp_path: Path) -> None:
    """The archive is finished at once, a file in it at the second look, and one in that at the third."""
    inside = {"job-1": [("in.zip", "job-2"), ("readme.exe", None)], "job-2": [("deep.txt", "job-3")], "job-3": []}
    looks: dict[str, int] = {}

    def state(job: str) -> dict[str, object]:
        looks[job] = looks.get(job, 0) + 1
        status = "completed" if looks[job] > 1 or job == "job-1" else "embedding"
        children = {"embedding": len(inside[job])} if inside[job] else {}
        return {
            "job_id": job,
            "status": status,
            "progress": 9,
            "processed_chunks": 1,
            "error": None,
            "children": children,
        }

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method in ("POST", "PUT"):
            return httpx.Response(202, json={"job_id": "job-1", "status": "pending", "duplicate": False})
        if request.url.path.endswith("/children"):
            rows = inside[request.url.path.split("/")[-2]]
            at = int(request.url.params.get("cursor", 0))
            children = [
                {"path": path, "size": 3, "job": state(job) if job else None} for path, job in rows[at : at + 1]
            ]
            cursor = str(at + 1) if len(rows) > at + 1 else None
            return httpx.Response(200, json={"children": children, "next_cursor": cursor})
        return httpx.Response(200, json={"jobs": [state(job) for job in request.url.params.get_list("job_id")]})

    path = tmp_path / "a.zip"
    path.touch()
    with client.Client("http://server.example", transport=httpx.MockTransport(answer)) as http:
        uploads = ingest.take_in(target(http), [path], quiet=True)
    assert [(upload.job_id, upload.status) for upload in uploads] == [(f"job-{n}", "completed") for n in (1, 2, 3)]
    assert [upload.name for upload in uploads] == [str(path), f"{path}: in.zip", f"{path}: in.zip > deep.txt"]


def test_files_of_other_types_are_counted_and_some_named(tmp_path: Path) -> None:
    for name in ("a.txt", "b.exe", ".hidden.exe", ".git/config", ".git/notes.txt", "deep/c.iso"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [path.name for path in ingest.files_of([tmp_path])] == ["a.txt"]
    assert ingest.left_out([tmp_path]) == "2 files of other types were left out: b.exe, c.iso."
    assert ingest.left_out([tmp_path / "deep"]) == "1 file of another type was left out: c.iso."
    assert ingest.left_out([tmp_path / "b.exe"]) == "", "a file that is named is tried"
    for n in range(9):
        (tmp_path / f"{n}.bin").touch()
    assert ingest.left_out([tmp_path]).endswith("left out: 0.bin, 1.bin, 2.bin, 3.bin, 4.bin and 6 more.")


def test_a_document_deleted_meanwhile_is_not_waited_for() -> None:
    server = Server(pace=0)
    uploads = [ingest.Upload(Path("x"), 1, job_id="gone")]
    with connected(server) as http:
        ingest.refresh(http, uploads)
    assert uploads[0].finished and "deleted" in uploads[0].refused


def ingested(server: Server, *paths: Path) -> list[str]:
    """The documents that the files are now; each time anew from what is recorded, as another run does."""
    with connected(server) as http:
        uploads = ingest.take_in(target(http), list(paths), quiet=True)
    return [upload.job_id for upload in uploads]


def test_a_changed_file_is_a_version_of_its_document(tmp_path: Path) -> None:
    server, path = Server(pace=9), tmp_path / "a.txt"
    path.write_text("one")
    [job] = ingested(server, path)
    path.write_text("two")
    assert ingested(server, path) == [job]
    assert server.bytes == {job: b"two"}
    server.jobs.clear()  # deleted by somebody
    server.bytes.clear()
    path.write_text("three")
    assert ingested(server, path) != [job]


def test_a_document_of_two_files_is_not_changed_with_one(tmp_path: Path) -> None:
    server, first, second = Server(pace=9), tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("same")
    second.write_text("same")
    [job] = ingested(server, first)
    assert ingested(server, second) == [job]
    first.write_text("other")
    [other] = ingested(server, first)
    assert server.bytes == {job: b"same", other: b"other"}
    second.write_text("changed")  # now it has the document alone
    assert ingested(server, second) == [job]
    assert server.bytes == {job: b"changed", other: b"other"}


def test_a_document_that_was_there_before_is_not_changed(tmp_path: Path) -> None:
    server, path = Server(pace=9), tmp_path / "a.txt"
    server.jobs["theirs"], server.bytes["theirs"] = "completed", b"same"
    path.write_text("same")
    assert ingested(server, path) == ["theirs"]
    path.write_text("mine")
    assert ingested(server, path) != ["theirs"]
    assert server.bytes["theirs"] == b"same"


def test_what_is_removed_from_a_folder_is_deleted_if_asked_for(tmp_path: Path) -> None:
    server, folder = Server(pace=9), tmp_path / "folder"
    folder.mkdir()
    paths = [folder / f"{n}.txt" for n in range(3)]
    for path in paths:
        path.write_text(path.name)
    jobs = ingested(server, *paths)
    with connected(server) as http:
        for delete in (False, True):
            paths[0].unlink(missing_ok=True)
            watch = ingest.Watch(target(http), [folder], delete=delete, as_json=True)
            watch.look({path: ingest.stamp(path) for path in paths[1:]})
            assert (jobs[0] in server.jobs) is not delete
        for path in paths[1:]:
            path.unlink()
        watch.look({})  # an empty folder may be a disk that is away
    assert set(jobs[1:]) == set(server.jobs)
