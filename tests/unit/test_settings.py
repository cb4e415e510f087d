"""Where settings come from, and that a secret is shown nowhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datadistiller import errors
from datadistiller.cli import configuration, up
from datadistiller.cli.main import app
from datadistiller.settings import Settings, for_children, source_of

SECRET = "hunter2-and-more"
URL = f"postgresql://me:{SECRET}@db.example/x"


@pytest.fixture(autouse=True)
def no_settings_of_mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("DATADISTILLER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def url_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "url"
    path.write_text(f"\n  {URL} \n\n")
    monkeypatch.setenv("DATADISTILLER_DATABASE_URL_FILE", str(path))
    return path


def test_a_file_that_a_variable_names_holds_the_value(url_file: Path) -> None:
    assert configuration.load().database_url == URL
    assert source_of("database_url") == "DATADISTILLER_DATABASE_URL_FILE"


def test_values_of_all_kinds_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "port").write_text("8123\n")
    monkeypatch.setenv("DATADISTILLER_PORT_FILE", str(tmp_path / "port"))
    assert configuration.load().port == 8123
    (tmp_path / "port").write_text(SECRET)
    with pytest.raises(errors.SetupError, match="port") as caught:
        configuration.load()
    assert SECRET not in caught.value.message + caught.value.hint


def test_arguments_win_over_variables_over_their_files_over_the_toml_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "datadistiller.toml").write_text("port = 1\nmax_pages = 2\nmax_top_k = 3\nhost = 'a'\n")
    for name, value in {"port": "4", "max_pages": "5", "max_top_k": "6"}.items():
        (tmp_path / name).write_text(value)
    monkeypatch.setenv("DATADISTILLER_PORT_FILE", str(tmp_path / "port"))
    monkeypatch.setenv("DATADISTILLER_MAX_PAGES_FILE", str(tmp_path / "max_pages"))
    monkeypatch.setenv("DATADISTILLER_MAX_TOP_K", "7")
    given = configuration.load(port=8)
    assert (given.port, given.max_pages, given.max_top_k, given.host) == (8, 5, 7, "a")
    assert [source_of(name) for name in ("max_pages", "max_top_k", "host", "log_level")] == [
        "DATADISTILLER_MAX_PAGES_FILE", "DATADISTILLER_MAX_TOP_K", "datadistiller.toml", "default",
    ]  # fmt: skip


def test_a_variable_and_its_file_are_one_too_many(monkeypatch: pytest.MonkeyPatch, url_file: Path) -> None:
    monkeypatch.setenv("DATADISTILLER_DATABASE_URL", "embedded:")
    with pytest.raises(errors.SetupError, match="Both DATADISTILLER_DATABASE_URL and DATADISTILLER_DATABASE_URL_FILE"):
        configuration.load()


@pytest.mark.parametrize("broken", ["missing", "a folder", "bytes"])
def test_a_file_that_cannot_be_used_is_a_sentence(url_file: Path, broken: str) -> None:
    url_file.unlink()
    if broken == "a folder":
        url_file.mkdir()
    elif broken == "bytes":
        url_file.write_bytes(b"\xff\xfe" + SECRET.encode())
    with pytest.raises(errors.SetupError) as caught:
        configuration.load()
    assert caught.value.message.startswith("The file that DATADISTILLER_DATABASE_URL_FILE names")
    assert SECRET not in caught.value.message + caught.value.hint


def test_the_command_masks_what_it_shows(url_file: Path) -> None:
    result = CliRunner().invoke(app, ["settings", "--json"], catch_exceptions=False)
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows["database_url"]["source"] == "DATADISTILLER_DATABASE_URL_FILE"
    assert rows["database_url"]["value"] == "postgresql://me:***@db.example/x"
    assert SECRET not in result.stdout


def test_settings_do_not_print_what_may_hold_a_password(url_file: Path) -> None:
    assert SECRET not in f"{configuration.load()!r} {configuration.load()}"


def test_child_processes_find_the_same_settings_where_they_are(
    monkeypatch: pytest.MonkeyPatch, url_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "port").write_text("8123")
    monkeypatch.setenv("DATADISTILLER_PORT_FILE", str(tmp_path / "port"))
    ours = configuration.load(port=8124, data_dir=tmp_path)
    inherited = for_children(ours)
    assert SECRET not in str(inherited)
    for name in [name for name in os.environ if name.startswith("DATADISTILLER_")]:
        monkeypatch.delenv(name)
    for name, value in inherited.items():
        monkeypatch.setenv(name, value)
    assert Settings() == ours
    assert not [spec for spec in up.children(ours, tmp_path) if SECRET in str(spec.env)]


def test_a_secret_is_masked_and_left_to_child_processes_where_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    monkeypatch.setenv("DATADISTILLER_S3_SECRET_KEY_FILE", str(tmp_path / "secret"))
    ours = configuration.load(data_dir=tmp_path)
    assert ours.s3_secret_key.get_secret_value() == SECRET
    assert SECRET not in f"{ours!r} {ours.model_dump()} {for_children(ours)}"
    for words in (["settings"], ["settings", "--json"]):
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert "**********" in result.stdout
        assert SECRET not in result.stdout
