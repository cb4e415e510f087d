"""The main job, as a person does it: ingest, watch, ask, cite, delete, verify; on one machine and on a cluster."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import cluster as clusters
from tests.acceptance.live import PATIENCE, Distributed, System, Up, note
from tests.acceptance.test_evaluate import judged_collection


def one_machine() -> Iterator[System]:
    folder = Path(tempfile.mkdtemp(prefix="dd-journey-"))
    folder.chmod(0o755)  # the database may run as another user
    started = Up(folder / "data", DATADISTILLER_NO_SAMPLES="1")
    yield started
    started.stop()
    shutil.rmtree(folder, ignore_errors=True)


def cluster() -> Iterator[System]:
    with asyncio.Runner() as runner:
        running = clusters.running()
        yield Distributed(runner.run(running.__aenter__()))
        runner.run(running.__aexit__(None, None, None))


@pytest.fixture(scope="module", params=[one_machine, cluster], ids=lambda kind: kind.__name__)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    yield from request.param()


def test_health_and_documentation_are_there(system: System) -> None:
    until = time.monotonic() + PATIENCE
    while (health := httpx.get(f"{system.url}/health").json())["status"] != "healthy":  # workers may still be starting
        assert time.monotonic() < until, health
        time.sleep(0.1)
    assert httpx.get(f"{system.url}/docs").status_code == 200
    assert "datadistiller_queue_messages" in httpx.get(f"{system.url}/metrics").text


def test_a_document_goes_in_is_cited_and_goes_out(system: System, tmp_path: Path) -> None:
    path = note(tmp_path, "bell.txt", "The harbour bell of Port Ellery weighs 412 kilograms and was cast in 1903.\n")
    done = system.cli("ingest", str(path), "--collection", "harbour")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 files are searchable" in done.stdout
    asked = ("ask", "How heavy is the harbour bell?", "--collection", "harbour")
    answer = system.answer(*asked)
    assert "412 kilograms" in answer["answer"]
    cited = answer["citations"][0]
    page = httpx.get(f"{system.url}/api/v2/documents/{cited['job_id']}/pages/{cited['page']}").json()["text"]
    assert page[cited["start"] : cited["end"]] == cited["text"]
    assert f"bell.txt, characters {cited['start']}-{cited['end']}" in system.cli(*asked).stdout
    assert system.answer("status", cited["job_id"])["status"] == "completed"
    assert system.cli("delete", cited["job_id"]).returncode == 0
    nothing = system.cli(*asked)
    assert nothing.returncode == 1
    assert "Nothing in the documents answers" in nothing.stdout
    assert system.cli("status", cited["job_id"]).returncode == 1


def test_a_folder_with_bad_files_names_them(system: System) -> None:
    with tempfile.TemporaryDirectory(prefix="dd-") as name:  # a long path would be folded in the table
        folder = Path(name)
        note(folder, "good.md", "# Ropes\n\nThe mooring rope of the Maren is 40 metres long.\n")
        note(folder, "empty.txt", "")
        (folder / "broken.pdf").write_bytes(b"%PDF-1.7\n" + b"\x00\xff" * 500)
        done = system.cli("ingest", name, "--collection", "mixed")
    assert done.returncode == 1
    assert "1 of 3 files are searchable" in done.stdout
    assert "'empty.txt' is empty" in done.stdout
    assert re.search(r"broken\.pdf .*failed", done.stdout)
    failed = system.answer("jobs", "--collection", "mixed", "--status", "failed")["jobs"]
    assert [job["filename"] for job in failed] == ["broken.pdf"]
    letters = system.answer("dead-letters", "list")["dead_letters"]
    letter = next(letter for letter in letters if letter["job_id"] == failed[0]["job_id"])
    assert system.cli("dead-letters", "discard", str(letter["dead_id"])).returncode == 0


def test_the_same_file_again_is_the_same_document(system: System, tmp_path: Path) -> None:
    path = note(tmp_path, "tide.txt", "High water at Grey Skerry comes forty minutes after Port Ellery.\n")
    first = system.answer("ingest", str(path), "--collection", "tides")
    again = system.answer("ingest", str(path), "--collection", "tides")
    assert not first[0]["duplicate"]
    assert again[0]["duplicate"]
    assert again[0]["job"] == first[0]["job"]


def test_following_a_document_ends_with_its_last_status(system: System, tmp_path: Path) -> None:
    path = note(tmp_path, "gulls.txt", "Gulls steal sausages from the ferry crew every Wednesday.\n")
    job = system.answer("ingest", str(path), "--collection", "gulls")[0]["job"]["job_id"]
    followed = system.cli("status", job, "--follow")
    assert followed.returncode == 0
    assert "completed" in followed.stdout


def test_doctor_finds_nothing_wrong(system: System) -> None:
    findings = system.answer("doctor")
    assert {finding["part"] for finding in findings} >= {"disk", "database", "objects", "index", "workers"}
    assert not [finding for finding in findings if finding["level"] == "error"]


VERIFIED = ["health", "upload", "statuses", "list", "query", "delete", "gone", "clean up"]


def verified(system: System, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what became of each step."""
    done = system.cli("verify", "--json", *words)
    return done.returncode, {step["name"]: step for step in json.loads(done.stdout)}


def test_verify_takes_a_document_through_and_leaves_nothing(system: System) -> None:
    before = system.answer("jobs", "--limit", "200")["jobs"]
    done = system.cli("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^ok (\w+(?: up)?) +[0-9.]+ s  \S", done.stdout, re.MULTILINE) == VERIFIED
    assert "pending → processing → chunking → embedding → completed" in done.stdout
    assert re.search(r"characters \d+-\d+: true", done.stdout)
    assert system.answer("jobs", "--limit", "200")["jobs"] == before


def test_verify_names_what_does_not_happen_and_cleans_up(system: System) -> None:
    before = system.answer("jobs", "--limit", "200")["jobs"]
    embedders = system.embedders()
    assert embedders
    for process in embedders:
        process.suspend()
    try:
        code, steps = verified(system, "--timeout", "1")
    finally:
        for process in embedders:
            process.resume()
    assert code == 1
    assert list(steps) == ["health", "upload", "statuses", "clean up"]
    assert "still embedding after 1 s" in steps["statuses"]["detail"]
    assert steps["clean up"]["detail"] == "the document was deleted"
    assert system.answer("jobs", "--limit", "200")["jobs"] == before


def test_the_index_is_built_anew_without_the_model(system: System, tmp_path: Path) -> None:
    path = note(tmp_path, "buoy.txt", "The whistle buoy off Grey Skerry sounds every eleven seconds.\n")
    system.answer("ingest", str(path), "--collection", "buoys")
    before = httpx.get(f"{system.url}/health").json()["index"]["entries"]
    assert system.cli("rebuild-index").returncode == 0
    until = time.monotonic() + PATIENCE
    while (index := httpx.get(f"{system.url}/health").json()["index"])["entries"] != before or index["status"] != "up":
        assert time.monotonic() < until, index
        time.sleep(0.1)
    assert system.answer("ask", "How often does the whistle buoy sound?", "--collection", "buoys")["answered"]


@pytest.mark.parametrize("mode", ["hybrid", "vector", "keyword"])
def test_a_running_server_is_measured_and_left_as_it_was(system: System, tmp_path: Path, mode: str) -> None:
    judged_collection(tmp_path)
    before = system.answer("jobs", "--limit", "200")["jobs"]
    report = system.answer("evaluate", str(tmp_path), "--mode", mode)
    assert report["ndcg@10"] == report["recall@5"] == report["recall@100"] == report["mrr@10"] == 1
    assert (report["mode"], report["documents"], report["not_searchable"], report["queries"]) == (mode, 5, 1, 3)
    assert 0 < report["p50_ms"] <= report["p95_ms"]
    assert system.answer("jobs", "--limit", "200")["jobs"] == before
