"""Commands for whoever runs the system: doctor, dead letters, the index, the settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

import datadistiller
from datadistiller.cli import client, configuration, ground, output
from datadistiller.settings import source_of

dead_letters = typer.Typer(no_args_is_help=True, help="What could not be processed, why, and again.")
Letter = Annotated[int, typer.Argument(metavar="ID", help="The number of the dead letter.")]


def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare database, object store and index completely too; takes its time.")
    ] = False,
    as_json: client.AsJson = False,
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """Examine the system and explain every job that is not finished. Exit code 1 if something is wrong."""
    with client.Client(url, answer_seconds=None if deep else client.ANSWER_SECONDS) as server:
        try:
            findings: list[dict[str, Any]] = server.get("/api/v2/doctor", deep=deep)["findings"]
        except client.ServerGone as error:
            findings = [{"level": "error", "part": "api", "sentence": error.message, "hint": error.hint}, *_local()]
    if as_json:
        output.as_json(findings)
    else:
        shown = output.table("", "part", "finding", "what to do")
        for found in findings:
            words = (output.plain(found[name]) for name in ("part", "sentence", "hint"))
            shown.add_row(output.styled(found["level"]), *words)
        output.console().print(shown)
    if any(found["level"] == "error" for found in findings):
        raise typer.Exit(1)


def _local() -> list[dict[str, str]]:
    """What can be said about this machine without a server."""
    settings = configuration.load()
    folder = settings.data_dir.resolve()
    if not folder.exists():
        return [_finding("warning", "data", f"There is no data folder {folder} yet.", "'datadistiller up' makes it.")]
    return [_disk(folder, settings.min_free_disk_bytes), _lock(folder), *_logs(folder / "logs")]


def _finding(level: str, part: str, sentence: str, hint: str = "") -> dict[str, str]:
    return {"level": level, "part": part, "sentence": sentence, "hint": hint}


def _disk(folder: Path, needed: int) -> dict[str, str]:
    free = shutil.disk_usage(folder).free
    sentence = f"{output.size(free)} are free for {folder}."
    return _finding("ok", "disk", sentence) if free >= needed else _finding("error", "disk", sentence, "Free some.")


def _lock(folder: Path) -> dict[str, str]:
    pid = ground.holder(folder)
    if pid is None:
        return _finding("warning", "up", f"No 'datadistiller up' runs on {folder}.", "Start it.")
    hint = "It may be starting, or listen on another port: name it with --url."
    return _finding("warning", "up", f"Process {pid} runs on {folder}, but not at this address.", hint)


def _logs(folder: Path) -> list[dict[str, str]]:
    return [
        _finding("warning", "log", f"The last line of {log.name} is an error.", f"See {log}.")
        for log in sorted(folder.glob("*.log"))
        if '"level": "error"' in _last_line(log)
    ]


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4000))
        lines = file.read().decode(errors="replace").splitlines()
    return lines[-1] if lines else ""


@dead_letters.command("list")
def list_letters(
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    as_json: client.AsJson = False,
    url: client.Url = client.DEFAULT_URL,
) -> None:
    """List dead letters, newest first."""
    with client.Client(url) as server:
        found = server.get("/api/v2/dead-letters", limit=limit)
    if as_json:
        output.as_json(found)
        return
    shown = output.table("id", "topic", "file", "why", "died")
    for letter in found["dead_letters"]:
        words = [letter["topic"], letter["filename"], letter["error"]["message"], letter["died_at"][:19]]
        shown.add_row(str(letter["dead_id"]), *(output.plain(word) for word in words))
    output.console().print(shown if found["dead_letters"] else "There are no dead letters.")


@dead_letters.command("show")
def show_letter(letter: Letter, url: client.Url = client.DEFAULT_URL) -> None:
    """Show a dead letter with its history."""
    with client.Client(url) as server:
        output.as_json(server.get(f"/api/v2/dead-letters/{letter}"))


@dead_letters.command("replay")
def replay_letter(letter: Letter, url: client.Url = client.DEFAULT_URL) -> None:
    """Try again: starts a new attempt of the whole document."""
    with client.Client(url) as server:
        job = server.post(f"/api/v2/dead-letters/{letter}/replay")
    output.console().print(f"{job['filename']} starts again, attempt {job['attempt']}.", markup=False)


@dead_letters.command("discard")
def discard_letter(letter: Letter, url: client.Url = client.DEFAULT_URL) -> None:
    """Forget a dead letter; the document keeps its status."""
    with client.Client(url) as server:
        server.delete(f"/api/v2/dead-letters/{letter}")
    output.console().print("Discarded.")


def rebuild_index(url: client.Url = client.DEFAULT_URL) -> None:
    """Rebuild the search index from the database; no model runs again."""
    with client.Client(url) as server:
        output.console().print(server.post("/api/v2/index/rebuild")["message"])


def settings(as_json: client.AsJson = False) -> None:
    """Show every setting with its value, source and meaning."""
    found = []
    values = configuration.load()
    for name, field in type(values).model_fields.items():
        value = configuration.masked(name, str(getattr(values, name)))
        found.append({"name": name, "value": value, "source": source_of(name), "meaning": field.description or ""})
    if as_json:
        output.as_json(found)
        return
    shown = output.table("setting", "value", "source", "meaning")
    for row in found:
        shown.add_row(*(output.plain(row[key]) for key in ("name", "value", "source", "meaning")))
    output.console().print(shown)


def version() -> None:
    """Print the version."""
    output.console().print(datadistiller.__version__)
