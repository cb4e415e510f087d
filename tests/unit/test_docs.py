"""The guide says what the code does: tables made from it are current, and nothing is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from datadistiller.cli.main import app
from tools import docs

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "src" / "datadistiller").rglob("*.py")}


def text_of(name: str) -> str:
    return (docs.GUIDE / name).read_text(encoding="utf-8")


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands, those of groups with their group's name before them."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")  # type: ignore[arg-type]  # typer has its own click
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", sorted(docs.GUIDE.glob("*.md")), ids=lambda path: path.name)
def test_tables_made_from_the_code_are_current(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    assert page == docs.rendered(page), "run: python -m tools.docs"


def test_every_table_is_on_some_page() -> None:
    shown = {name for path in docs.GUIDE.glob("*.md") for _, name, _ in docs.TABLE.findall(text_of(path.name))}
    assert shown == set(docs.TABLES)


def test_the_contract_s_commands_are_there() -> None:
    letters = {f"dead-letters {name}" for name in ("list", "show", "replay", "discard")}
    documents = {"ingest", "ask", "jobs", "status", "cancel", "retry", "delete"}
    operations = {"up", "serve", "doctor", "verify", "evaluate", "settings", "rebuild-index", "version"}
    keys = {f"keys {name}" for name in ("create", "list", "revoke")}
    assert set(COMMANDS) == letters | documents | operations | keys | {"models convert"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_guide_and_explains_itself(name: str) -> None:
    guide = "\n".join(text_of(path.name) for path in docs.GUIDE.glob("*.md"))
    assert f"datadistiller {name}" in guide or f"`{name.split()[-1]}" in guide
    command = COMMANDS[name]
    assert command.help
    assert not [option.name for option in command.params if not getattr(option, "help", "")]


def test_every_metric_is_in_the_guide() -> None:
    guide = text_of("operations.md")
    names = {name for source in SOURCES.values() for name in re.findall(r'"(datadistiller_[a-z_]+)"', source)}
    gauges = re.findall(r'_gauge\(\s*"([a-z_]+)"', SOURCES[ROOT / "src/datadistiller/api/metrics.py"])
    names |= {f"datadistiller_{name}" for name in gauges}
    assert len(names) > 10
    assert not {name for name in names if f"`{name}`" not in guide}


def test_every_call_is_in_the_guide() -> None:
    guide = text_of("api.md")
    routes = re.compile(r'APIRouter\((?:prefix="([^"]*)")?|@router\.(get|post|delete)\(\s*"([^"]*)"')
    calls = set()
    for path, source in SOURCES.items():
        if path.parent.name == "api":
            prefix = ""
            for given, method, route in routes.findall(source):
                prefix = given or prefix
                if method:
                    calls.add(f"`{method.upper()} {prefix}{route}`")
    assert len(calls) >= 19
    assert not {call for call in calls if call not in guide}


def test_every_variable_in_the_code_is_in_the_guide() -> None:
    guide = "\n".join(text_of(path.name) for path in docs.GUIDE.glob("*.md"))
    private = {"DATADISTILLER_BOOT", "DATADISTILLER_SUPERVISOR", "DATADISTILLER_PROCESS"}  # up sets them for children
    names = {name for source in SOURCES.values() for name in re.findall(r"\bDATADISTILLER_[A-Z_]*[A-Z]\b", source)}
    # A setting may come from a file: that variable goes without saying.
    told = {name for name in names if f"`{name}`" in guide or f"`{name.removesuffix('_FILE')}`" in guide}
    assert not names - private - told


def test_links_between_pages_lead_somewhere() -> None:
    links = [(p, target) for p in PAGES for target in re.findall(r"\]\(([^)#\s]+)\)", p.read_text(encoding="utf-8"))]
    assert len(links) > 5
    assert not [link for link in links if "://" not in link[1] and not (link[0].parent / link[1]).exists()]


def test_files_named_in_architecture_exist() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+/[a-z_/0-9]*(?:\.py|\.sql)?)(?:: [a-z_]+)?`", page))
    named = {name for name in named if name.split("/")[0] not in {"run"}}
    assert len(named) > 20
    homes = (ROOT, ROOT / "src" / "datadistiller")
    assert not {name for name in named if not any((home / name).exists() for home in homes)}


def test_decisions_are_numbered_as_their_files() -> None:
    for path in (ROOT / "docs" / "adr").glob("*.md"):
        assert path.read_text(encoding="utf-8").startswith(f"# {int(path.name[:4])}. "), path.name


@pytest.mark.parametrize("name", ["README.md", "docs/guide/cluster.md"])
def test_the_benchmarks_find_their_place(name: str) -> None:
    page = (ROOT / name).read_text(encoding="utf-8")
    assert page.index("<!-- bench -->") < page.index("<!-- /bench -->")


def test_no_page_names_a_machine_s_path_or_a_registry() -> None:
    private = re.compile(r"/(?:root|work|tmp)/|pypi\.org|pythonhosted|npmjs|crates\.io")
    assert not {path.name: private.findall(text) for path in PAGES if private.search(text := path.read_text("utf-8"))}
