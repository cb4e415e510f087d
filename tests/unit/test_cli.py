"""The command line without a server: settings, checks before a start, files chosen, words printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import datadistiller
from datadistiller import errors
from datadistiller.cli import client, configuration, firstrun, ground, ingest, output, serve, up
from datadistiller.cli.main import app
from datadistiller.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_settings_of_mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("DATADISTILLER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def printed(*words: str) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "DATADISTILLER_URL": "http://127.0.0.1:9"}
    argv = [sys.executable, "-m", "datadistiller", *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_version() -> None:
    assert printed("version").strip() == datadistiller.__version__


def test_settings_name_value_source_and_meaning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "datadistiller.toml").write_text("max_pages = 7\nport = 1\n")
    monkeypatch.setenv("DATADISTILLER_PORT", "8123")
    monkeypatch.setenv("DATADISTILLER_DATABASE_URL", "postgresql://me:hunter2@db.example/x")
    rows = {row["name"]: row for row in json.loads(printed("settings", "--json"))}
    assert set(rows) == set(Settings.model_fields)
    assert (rows["port"]["value"], rows["port"]["source"]) == ("8123", "DATADISTILLER_PORT")
    assert (rows["max_pages"]["value"], rows["max_pages"]["source"]) == ("7", "datadistiller.toml")
    assert rows["log_level"]["source"] == "default"
    assert all(row["meaning"] for row in rows.values())
    assert rows["database_url"]["value"] == "postgresql://me:***@db.example/x"
    assert "hunter2" not in printed("settings")


def test_a_wrong_setting_is_a_sentence_that_does_not_repeat_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATADISTILLER_PORT", "hunter2")
    with pytest.raises(errors.SetupError) as caught:
        configuration.load()
    assert caught.value.message.startswith("The setting port is not valid: ")
    assert "DATADISTILLER_PORT" in caught.value.hint
    assert "hunter2" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("content", ["port = = 3", 'nonsense = "x"'], ids=["syntax", "unknown"])
def test_a_wrong_settings_file_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "datadistiller.toml").write_text(content)
    with pytest.raises(errors.SetupError) as caught:
        configuration.load()
    assert "datadistiller.toml" in caught.value.message + caught.value.hint


def test_a_settings_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATADISTILLER_CONFIG", str(tmp_path / "typo.toml"))
    with pytest.raises(errors.SetupError, match=r"no settings file .*typo\.toml"):
        configuration.load()


def test_an_empty_variable_names_no_settings_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATADISTILLER_CONFIG", "")
    assert {row["source"] for row in json.loads(printed("settings", "--json"))} == {"default"}


def test_options_win_over_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATADISTILLER_PORT", "8123")
    assert configuration.load(port=None, host="::1").port == 8123
    assert configuration.load(port=9).port == 9


def test_urls_of_addresses() -> None:
    assert ground.url_of("127.0.0.1", 80) == "http://127.0.0.1:80"
    assert ground.url_of("::1", 80) == "http://[::1]:80"
    assert ground.url_of("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert ground.url_of("::", 80) == "http://[::1]:80"


def test_a_data_folder_belongs_to_one_process(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert ground.holder(folder) is None
    with ground.locked(folder, 0):
        assert ground.holder(folder) == os.getpid()
        with pytest.raises(errors.SetupError, match=rf"process {os.getpid()}\)"), ground.locked(folder, 0):
            pytest.fail("locked twice")
    assert ground.holder(folder) is None
    with ground.locked(folder, 0):
        assert ground.holder(folder) == os.getpid()


def test_an_end_by_an_error_leaves_no_process_id_behind(tmp_path: Path) -> None:
    with pytest.raises(errors.SetupError), ground.locked(tmp_path, 0):
        raise errors.SetupError
    assert (tmp_path / "lock").read_text() == ""


def test_a_full_disk_is_refused_and_leaves_the_folder_free(tmp_path: Path) -> None:
    with pytest.raises(errors.SetupError, match="is full"), ground.locked(tmp_path, 10**18):
        pytest.fail("there is no such disk")
    assert ground.holder(tmp_path) is None


def test_each_role_gets_its_processes(tmp_path: Path) -> None:
    settings = configuration.load(data_dir=tmp_path, ingest_workers=1, embed_workers=2, port=8123)
    specs = up.children(settings, tmp_path)
    assert [spec.name for spec in specs] == ["api", "ingest-1", "embed-1", "embed-2"]
    assert specs[2].env["WORKER_ID"] == "embed-1"
    assert {spec.env["DATADISTILLER_PORT"] for spec in specs} == {"8123"}


def test_why_a_child_did_not_start(tmp_path: Path) -> None:
    log = tmp_path / "embed-1.log"
    log.write_text(
        '{"event": "started"}\n{"event": "cannot_start", "reason": "Another model.", "hint": "Embed again."}\n'
    )
    assert (up.why_not_started(log).message, up.why_not_started(log).hint) == ("Another model.", "Embed again.")
    log.write_text("cannot_start reason=...\n")
    assert str(log) in up.why_not_started(log).hint


def test_the_samples_are_found_and_readable() -> None:
    folder = firstrun.samples_folder()
    assert folder is not None
    files = list(ingest.files_of([folder]))
    assert {path.suffix for path in files} == {".md", ".txt", ".html", ".pdf", ".docx", ".xlsx", ".csv", ".eml"}
    assert all(path.stat().st_size < 100_000 for path in files)


def test_folders_give_readable_visible_files_and_named_files_are_always_tried(tmp_path: Path) -> None:
    for name in ("b.txt", "a.PDF", ".hidden.txt", "program.exe", "deep/c.md"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    named = tmp_path / "folder" / "program.exe"
    found = [path.relative_to(tmp_path / "folder").as_posix() for path in ingest.files_of([tmp_path / "folder", named])]
    assert found == ["a.PDF", "b.txt", "deep/c.md", "program.exe"]


def test_roles() -> None:
    assert serve.parse_roles("embed, api,embed") == ["embed", "api"]
    for text in ("", "cook", "api,cook"):
        with pytest.raises(errors.SetupError, match="role"):
            serve.parse_roles(text)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (1500, "2 kB"), (3e6, "3 MB"), (2.5e9, "2.5 GB")]
)
def test_sizes_for_people(count: float, words: str) -> None:
    assert output.size(count) == words


def test_no_server_is_one_sentence_on_standard_error_and_exit_code_2() -> None:
    for words in (("jobs",), ("ask", "why?"), ("ingest", str(ROOT / "README.md"))):
        done = run(*words)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.splitlines() == [
            "Error: No DataDistiller answers at http://127.0.0.1:9. Start it with 'datadistiller up' (or 'make up'), "
            "or name another with --url."
        ]


def test_job_ids_stay_whole_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"5f0c1b1e-8a4e-4d7e-9a55-3d1f0a0c7b{n:02}" for n in range(3)]
    rest = {"filename": "a long name.pdf" * 5, "collection": "reports", "status": "completed", "progress": 100}
    rest["error"] = None
    found = {"jobs": [{"job_id": job, "total_chunks": 12, **rest} for job in ids], "next_cursor": None}
    monkeypatch.setattr(client.Client, "get", lambda *_, **__: found)
    monkeypatch.setattr(output, "console", lambda: Console(width=80))
    shown = printed("jobs")
    assert all(job in shown for job in ids) and shown.count(" 12") == len(ids)
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_a_failed_job_shows_why_and_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"code": "no_text", "message": "The document holds no text.", "hint": "Run OCR."}
    known = {"collection": "reports", "progress": 100, "total_chunks": None, "failed_pages": [], "attempt": 1}
    known |= dict.fromkeys(
        ("version", "next_version", "page_count", "processed_chunks", "failed_chunks", "finished_at", "created_at")
    )
    failed = {"job_id": "1", "filename": "scan.pdf", "media_type": "x/y", "status": "failed", "error": error, **known}
    done = {**failed, "job_id": "2", "status": "completed", "error": None, "total_chunks": 7}
    monkeypatch.setattr(client.Client, "get", lambda *_, **__: {"jobs": [failed, done], "next_cursor": None})
    listed = [line.split() for line in printed("jobs").splitlines()]
    assert listed[0][-2:] == ["chunks", "why"]
    assert " ".join(listed[1]) == "1 scan.pdf reports failed The document holds no text."
    assert " ".join(listed[2]) == "2 scan.pdf reports completed 100 % 7"
    monkeypatch.setattr(client.Client, "get", lambda *_, **__: failed)
    shown = CliRunner().invoke(app, ["status", str(uuid.UUID(int=1))], catch_exceptions=False)
    assert shown.exit_code == 1
    assert "The document holds no text. Run OCR." in shown.stdout
    assert "None" not in shown.stdout and "%" not in shown.stdout


def test_a_report_shows_warnings_stages_and_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    warning = {"code": "encoding_guessed", "message": "It was read as windows-1251.", "hint": "Save it as UTF-8."}
    reading = {"attempt": 2, "parser": "text", "encoding": "windows-1251", "pages": 1, "pages_failed": 0}
    steps = [
        {"status": "pending", "at": "2026-11-24T09:14:00.1Z", "code": None},
        {"status": "failed", "at": "2026-11-24T09:15:00.1Z", "code": "damaged"},
    ]
    report = {
        "job_id": "1", "filename": "a.txt", "version": 1, "status": "completed", "error": None, "failed_pages": [],
        "reading": {**reading, "warnings": [warning]}, "stages": [{"stage": "parse", "seconds": 1.5, "bytes": 2000}],
        "vectors": {"computed": 3, "found": 4}, "attempts": [{"number": 1, "steps": steps}],
    }  # fmt: skip
    asked: list[str] = []
    monkeypatch.setattr(client.Client, "get", lambda _, path, **__: asked.append(path) or report)
    shown = " ".join(printed("status", str(uuid.UUID(int=1)), "--report").split())
    assert asked == [f"/api/v2/documents/{uuid.UUID(int=1)}/report"]
    for words in ("It was read as windows-1251. Save it as UTF-8.", "parse 1.500 s, 2 kB",
                  "3 computed, 4 found again",
                  "attempt 1 pending 09:14:00, failed 09:15:00 (damaged)", "encoding windows-1251"):  # fmt: skip
        assert words in shown
    assert "pages_failed" not in shown


def test_an_answer_names_the_place_of_each_citation_and_where_to_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    page = "/api/v2/documents/1/pages/7"
    base = {"text": "Costs rose.", "start": 3, "end": 14}
    seen = {**base, "number": 1, "filename": "a.pdf", "place": "page iv", "page_url": page, "image_url": f"{page}.png"}
    unseen = {**base, "number": 2, "filename": "b.txt", "place": "", "page_url": page, "image_url": None}
    answer = {"answer": "Costs rose. [1]", "answered": True, "sentences": [], "took_ms": 1, "citations": [seen, unseen]}
    monkeypatch.setattr(client.Client, "post", lambda *_: answer)
    lines = printed("ask", "why?").splitlines()
    assert "[1] a.pdf, page iv, characters 3-14" in lines
    assert "[2] b.txt, characters 3-14" in lines
    shown = json.loads(printed("ask", "why?", "--json", "--url", "http://far.example:8000"))["citations"]
    assert [cited["image_url"] for cited in shown] == [f"http://far.example:8000{page}.png", None]
    assert {cited["page_url"] for cited in shown} == {f"http://far.example:8000{page}"}


@pytest.mark.parametrize("command", ["status", "cancel", "retry", "delete"])
@pytest.mark.parametrize("word", ["", "nope", "../query"])
def test_what_cannot_be_a_job_id_is_not_sent(command: str, word: str) -> None:
    with pytest.raises(errors.JobNotFound, match="is not the id of a document"):
        CliRunner().invoke(app, [command, word], catch_exceptions=False)


def test_doctor_without_a_server_examines_this_machine(tmp_path: Path) -> None:
    (tmp_path / ".data" / "logs").mkdir(parents=True)
    (tmp_path / ".data" / "logs" / "api.log").write_text('{"event": "boom", "level": "error"}\n')
    done = run("doctor", "--json")
    assert done.returncode == 1
    findings = json.loads(done.stdout)
    assert [finding["part"] for finding in findings] == ["api", "disk", "up", "log"]
    assert "No 'datadistiller up' runs" in findings[2]["sentence"]


def test_a_file_that_is_not_there_is_named() -> None:
    done = run("ingest", "nowhere.pdf")
    assert done.returncode == 1
    assert "nowhere.pdf" in done.stderr


def test_help_does_not_wait_for_heavy_libraries() -> None:
    code = (
        "import sys, datadistiller.cli.main; "
        "print(*{'numpy', 'faiss', 'onnxruntime', 'psycopg', 'fastapi', 'tantivy'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
