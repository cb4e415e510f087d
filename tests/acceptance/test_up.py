"""The main job on a live ``up``, as a newcomer does it: start, watch, ingest, ask, cite, delete, stop."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = sorted(path.name for path in (ROOT / "samples").iterdir())
PATIENCE = 180  # seconds: a machine that runs the tests may be busy


def environment(**more: str) -> dict[str, str]:
    """No settings of the person who runs the tests, and this very code."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DATADISTILLER_")}
    return {**inherited, "PYTHONPATH": str(ROOT / "src"), **more}


def run(*words: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """One command of the command line, to its end."""
    argv = [sys.executable, "-m", "datadistiller", *words]
    return subprocess.run(
        argv, cwd=cwd, env=environment(**more), capture_output=True, text=True, check=False, timeout=PATIENCE
    )


class Up:
    """A running ``datadistiller up`` and what it has printed."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}-{time.monotonic_ns()}.txt"
        argv = [sys.executable, "-m", "datadistiller", "up", "--data-dir", str(folder), "--port", "0"]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                argv, cwd=folder.parent, env=environment(**more), stdout=out, stderr=out, start_new_session=True
            )
        self.url = self._wait_for(r"is running at (http://\S+)")

    @property
    def printed(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run(*words, DATADISTILLER_URL=self.url)

    def answer(self, *words: str) -> Any:
        done = self.cli(*words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)

    def _wait_for(self, pattern: str) -> str:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = re.search(pattern, self.printed)
            if found:
                return found[1]
            assert self.process.poll() is None, self.printed
            time.sleep(0.1)
        pytest.fail(f"not running after {PATIENCE} s:\n{self.printed}")


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dd-up-"))
    folder.chmod(0o755)  # the database may run as another user
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def up(scratch: Path) -> Iterator[Up]:
    started = Up(scratch / "data")
    yield started
    started.stop()


def note(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_first_start_shows_what_it_is_for(up: Up) -> None:
    for name in SAMPLES:
        assert re.search(rf"{re.escape(name)} +completed", up.printed), up.printed
    assert "Why did the lamp at Grey Skerry go dark?" in up.printed
    assert "contacts of relay R-12 were covered with salt" in up.printed
    assert re.search(r"\[\d] inspection-report-87-31.pdf, page 1, characters \d+-\d+", up.printed)


def test_health_and_documentation_are_there(up: Up) -> None:
    assert httpx.get(f"{up.url}/health").json()["status"] == "healthy"
    assert httpx.get(f"{up.url}/docs").status_code == 200
    assert "datadistiller_queue_messages" in httpx.get(f"{up.url}/metrics").text


def test_a_document_goes_in_is_cited_and_goes_out(up: Up, tmp_path: Path) -> None:
    path = note(tmp_path, "bell.txt", "The harbour bell of Port Ellery weighs 412 kilograms and was cast in 1903.\n")
    done = up.cli("ingest", str(path), "--collection", "harbour")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 files are searchable" in done.stdout
    asked = ("ask", "How heavy is the harbour bell?", "--collection", "harbour")
    answer = up.answer(*asked)
    assert "412 kilograms" in answer["answer"]
    cited = answer["citations"][0]
    page = httpx.get(f"{up.url}/api/v2/documents/{cited['job_id']}/pages/{cited['page']}").json()["text"]
    assert page[cited["start"] : cited["end"]] == cited["text"]
    assert f"bell.txt, page 1, characters {cited['start']}-{cited['end']}" in up.cli(*asked).stdout
    assert up.answer("status", cited["job_id"])["status"] == "completed"
    assert up.cli("delete", cited["job_id"]).returncode == 0
    nothing = up.cli(*asked)
    assert nothing.returncode == 1
    assert "Nothing in the documents answers" in nothing.stdout
    assert up.cli("status", cited["job_id"]).returncode == 1


def test_a_folder_with_bad_files_names_them(up: Up, tmp_path: Path) -> None:
    note(tmp_path, "good.md", "# Ropes\n\nThe mooring rope of the Maren is 40 metres long.\n")
    note(tmp_path, "empty.txt", "")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\n" + b"\x00\xff" * 500)
    done = up.cli("ingest", str(tmp_path), "--collection", "mixed")
    assert done.returncode == 1
    assert "1 of 3 files are searchable" in done.stdout
    assert "'empty.txt' is empty" in done.stdout
    assert re.search(r"broken\.pdf .*failed", done.stdout)
    failed = up.answer("jobs", "--collection", "mixed", "--status", "failed")["jobs"]
    assert [job["filename"] for job in failed] == ["broken.pdf"]
    letters = up.answer("dead-letters", "list")["dead_letters"]
    letter = next(letter for letter in letters if letter["job_id"] == failed[0]["job_id"])
    assert up.cli("dead-letters", "discard", str(letter["dead_id"])).returncode == 0


def test_the_same_file_again_is_the_same_document(up: Up, tmp_path: Path) -> None:
    path = note(tmp_path, "tide.txt", "High water at Grey Skerry comes forty minutes after Port Ellery.\n")
    first = up.answer("ingest", str(path), "--collection", "tides")
    again = up.answer("ingest", str(path), "--collection", "tides")
    assert not first[0]["duplicate"]
    assert again[0]["duplicate"]
    assert again[0]["job"] == first[0]["job"]


def vectors(up: Up, source: str) -> float:
    """How many vectors came from there, in all processes."""
    name = f'datadistiller_vectors_total{{source="{source}"}} '
    lines = httpx.get(f"{up.url}/metrics").text.splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_of_a_changed_file_only_what_changed_is_embedded(up: Up, tmp_path: Path) -> None:
    days = [
        f"## Day {day}\n\nThe keeper of lamp {day} writes that the {day * 7} barrels came with ship {day * 13}. "
        f"{'The sea was calm and the visibility good. ' * 12}\n"
        for day in range(1, 31)
    ]
    path = note(tmp_path, "diary.md", "\n".join(days))
    chunks = up.answer("ingest", str(path), "--collection", "diary")[0]["job"]["total_chunks"]
    computed, found = vectors(up, "computed"), vectors(up, "found")
    assert chunks >= 12 and computed >= chunks
    days[14] = days[14].replace("The keeper", "The new keeper")
    note(tmp_path, "diary.md", "\n".join(days))
    again = up.answer("ingest", str(path), "--collection", "diary")[0]
    assert not again["duplicate"] and again["job"]["status"] == "completed"
    assert 1 <= vectors(up, "computed") - computed <= 3
    assert vectors(up, "found") - found >= chunks - 3
    computed = vectors(up, "computed")
    other = up.answer("ingest", str(path), "--collection", "shelf")[0]
    assert (other["duplicate"], other["job"]["status"], vectors(up, "computed")) == (False, "completed", computed)
    cited = up.answer("ask", "Which ship came to lamp 15?", "--collection", "shelf")["citations"][0]
    assert "ship 195" in cited["text"]


def test_following_a_document_ends_with_its_last_status(up: Up, tmp_path: Path) -> None:
    path = note(tmp_path, "gulls.txt", "Gulls steal sausages from the ferry crew every Wednesday.\n")
    job = up.answer("ingest", str(path), "--collection", "gulls")[0]["job"]["job_id"]
    followed = up.cli("status", job, "--follow")
    assert followed.returncode == 0
    assert "completed" in followed.stdout


def test_doctor_finds_nothing_wrong(up: Up) -> None:
    findings = up.answer("doctor")
    assert {finding["part"] for finding in findings} >= {"disk", "database", "objects", "index", "workers"}
    assert not [finding for finding in findings if finding["level"] == "error"]


VERIFIED = ["health", "upload", "statuses", "list", "query", "delete", "gone", "clean up"]


def verified(up: Up, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what became of each step."""
    done = up.cli("verify", "--json", *words)
    return done.returncode, {step["name"]: step for step in json.loads(done.stdout)}


def test_verify_takes_a_document_through_and_leaves_nothing(up: Up) -> None:
    before = up.answer("jobs", "--limit", "200")["jobs"]
    done = up.cli("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^ok (\w+(?: up)?) +[0-9.]+ s  \S", done.stdout, re.MULTILINE) == VERIFIED
    assert "pending → processing → chunking → embedding → completed" in done.stdout
    assert re.search(r"characters \d+-\d+: true", done.stdout)
    assert up.answer("jobs", "--limit", "200")["jobs"] == before


def test_verify_names_what_does_not_happen_and_cleans_up(up: Up) -> None:
    before = up.answer("jobs", "--limit", "200")["jobs"]
    family = psutil.Process(up.process.pid).children(recursive=True)
    embedders = [process for process in family if process.cmdline()[-2:] == ["--roles", "embed"]]
    assert embedders
    for process in embedders:
        process.suspend()
    try:
        code, steps = verified(up, "--timeout", "1")
    finally:
        for process in embedders:
            process.resume()
    assert code == 1
    assert list(steps) == ["health", "upload", "statuses", "clean up"]
    assert "still embedding after 1 s" in steps["statuses"]["detail"]
    assert steps["clean up"]["detail"] == "the document was deleted"
    assert up.answer("jobs", "--limit", "200")["jobs"] == before


def test_verify_without_a_server_fails_at_the_first_step() -> None:
    done = run("verify", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert re.fullmatch(r"error health +[0-9.]+ s  No DataDistiller answers at http://127.0.0.1:9.*\n", done.stdout)


def test_the_index_is_built_anew_without_the_model(up: Up) -> None:
    before = httpx.get(f"{up.url}/health").json()["index"]["entries"]
    assert up.cli("rebuild-index").returncode == 0
    until = time.monotonic() + PATIENCE
    while (index := httpx.get(f"{up.url}/health").json()["index"])["entries"] != before or index["status"] != "up":
        assert time.monotonic() < until, index
        time.sleep(0.1)
    assert up.answer("ask", "Why did the lamp at Grey Skerry go dark?")["answered"]


def test_a_folder_in_use_is_refused(up: Up) -> None:
    done = run("up", "--data-dir", str(up.folder), "--port", "0")
    assert done.returncode == 1
    assert f"Another DataDistiller (process {up.process.pid}) uses the data folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "more", "sentence"),
    [
        (("--host", "0.0.0.0"), {}, "needs an API key, since it is to listen on 0.0.0.0"),
        (("--data-dir", "file/below"), {}, "cannot be written (Not a directory)"),
        (("--data-dir", "file"), {}, "is not a folder"),
        ((), {"DATADISTILLER_MIN_FREE_DISK_BYTES": str(10**18)}, "is full"),
        ((), {"DATADISTILLER_PORT": "many"}, "The setting port is not valid"),
        ((), {"DATADISTILLER_INDEX_URL": "elsewhere:"}, "'elsewhere' is not a known kind of search index"),
    ],
    ids=["host", "unwritable", "file", "disk", "setting", "child"],
)
def test_what_prevents_a_start_is_one_sentence(
    scratch: Path, words: tuple[str, ...], more: dict[str, str], sentence: str
) -> None:
    (scratch / "file").touch()
    port = () if "DATADISTILLER_PORT" in more else ("--port", "0")
    done = run("up", *port, *words, cwd=scratch, **more)
    assert done.returncode == 1, done.stdout + done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_is_refused(scratch: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("up", "--data-dir", str(scratch / "other"), "--port", str(port))
    assert done.returncode == 1
    assert f"Port {port} of 127.0.0.1 cannot be used" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (scratch / "other").exists()


def test_it_stops_without_a_trace_and_starts_again_with_everything(up: Up) -> None:
    """The last test: it stops the system the others use."""
    tree = [psutil.Process(up.process.pid), *psutil.Process(up.process.pid).children(recursive=True)]
    assert up.stop() == 0
    assert "Stopped. Everything is saved." in up.printed
    assert not [process for process in tree if process.is_running()]
    assert run("jobs", DATADISTILLER_URL=up.url).returncode == 2
    again = Up(up.folder)
    try:
        assert "sample" not in again.printed
        assert len(again.answer("jobs", "--collection", "samples")["jobs"]) == len(SAMPLES)
        assert again.answer("ask", "Why did the lamp at Grey Skerry go dark?")["answered"]
    finally:
        assert again.stop() == 0
