"""The .sql files: named, described, parsed, each statement used, and none with text of a caller in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from datadistiller.store import filters, frames, statements
from datadistiller.store.migrate import migrations

STORE = Path(statements.__file__).parent
FILES = sorted((STORE / "sql").glob("*.sql"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_statement_is_named_described_and_used(file: Path) -> None:
    found = statements.parse(file.read_text())
    assert found
    code = "\n".join(path.read_text() for path in STORE.glob("*.py"))
    for name, (description, sql) in found.items():
        assert description.endswith("."), f"{name}: a description is a sentence"
        assert sql.endswith(";"), name
        assert f'"{name}"' in code, f"{file.name} has a statement nobody uses: {name}"
        assert not re.search(r"%(?!\()", sql.replace("%%", "")), f"{name}: parameters are named"
        assert not re.search(r"^[^-]*;\n", sql, re.MULTILINE), f"{name}: one statement under a name"


def test_a_statement_is_found_by_its_name() -> None:
    sql = statements.Statements("messages")
    assert sql["lock_jobs"].startswith(b"SELECT job_id")
    with pytest.raises(KeyError, match=r"sql/messages\.sql has no statement 'nothing'"):
        sql["nothing"]


@pytest.mark.parametrize("text", ["-- name: a\nSELECT 1;", "-- name: a\n-- x.\nS;\n\n-- name: a\n-- x.\nS;"])
def test_a_statement_without_description_or_doubled_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="'a'"):
        statements.parse(text)


def test_migrations_are_numbered_without_gaps() -> None:
    assert sorted(migrations()) == list(range(1, len(migrations()) + 1))


def test_a_filters_text_never_enters_the_statement() -> None:
    nasty = "'; DROP TABLE x; --"
    where, values = filters.condition({nasty: nasty, "b": {"$in": [nasty], "$gt": nasty}})
    assert "DROP" not in where and len(values) >= 4


def test_frames_name_places_and_causes_but_no_values() -> None:
    try:
        try:
            int("secret")
        except ValueError as cause:
            raise RuntimeError from cause
    except RuntimeError as error:
        places, kind = frames.of(error), frames.type_of(error)
    assert kind == "RuntimeError from ValueError"
    assert len(places) == 1 and re.fullmatch(r"test_sql\.py:\d+ test_frames_name_places_and_causes.*", places[0])
