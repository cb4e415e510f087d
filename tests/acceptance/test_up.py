"""``datadistiller up`` as a newcomer meets it: the first start, what prevents one, stopping and starting again."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance.live import ROOT, Up, note, run

SAMPLES = sorted(path.name for path in (ROOT / "samples").iterdir())


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


def test_the_first_start_shows_what_it_is_for(up: Up) -> None:
    for name in SAMPLES:
        assert re.search(rf"{re.escape(name)} +completed", up.printed), up.printed
    assert "Why did the lamp at Grey Skerry go dark?" in up.printed
    assert "contacts of relay R-12 were covered with salt" in up.printed
    assert re.search(r"\[\d] inspection-report-87-31.pdf, page 1, characters \d+-\d+", up.printed)


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
    computed = vectors(up, "computed")
    assert chunks >= 12 and computed >= chunks
    days[14] = days[14].replace("The keeper", "The new keeper")
    note(tmp_path, "diary.md", "\n".join(days))
    again = up.answer("ingest", str(path), "--collection", "diary")[0]
    assert not again["duplicate"] and again["job"]["status"] == "completed" and again["job"]["version"] == 2
    assert 1 <= vectors(up, "computed") - computed <= 4  # up to the next place where cuts begin anew
    report = httpx.get(f"{up.url}/api/v2/documents/{again['job']['job_id']}/report").json()
    assert report["vectors"]["found"] >= chunks - 4
    computed = vectors(up, "computed")
    other = up.answer("ingest", str(path), "--collection", "shelf")[0]
    assert (other["duplicate"], other["job"]["status"], vectors(up, "computed")) == (False, "completed", computed)
    cited = up.answer("ask", "Which ship came to lamp 15?", "--collection", "shelf")["citations"][0]
    assert "ship 195" in cited["text"]


def test_verify_without_a_server_fails_at_the_first_step() -> None:
    done = run("verify", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert re.fullmatch(r"error health +[0-9.]+ s  No DataDistiller answers at http://127.0.0.1:9.*\n", done.stdout)


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
