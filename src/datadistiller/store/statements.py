"""Loads the named SQL statements of ``store/sql``: each file a noun, each statement named and described.

A statement begins with ``-- name: claim``; the comment lines below it describe it; the SQL follows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

NAME = re.compile(r"^-- name: ([a-z_]+)\n((?:--.*\n)*)", re.MULTILINE)


class Statements:
    """The statements of one file, as bytes that psycopg takes as a query: ``statements["claim"]``."""

    def __init__(self, noun: str) -> None:
        text = (resources.files("datadistiller.store") / "sql" / f"{noun}.sql").read_text()
        self._noun = noun
        self._texts = {name: sql.encode() for name, (_, sql) in parse(text).items()}

    def __getitem__(self, name: str) -> bytes:
        """The SQL of that name; KeyError names the file."""
        try:
            return self._texts[name]
        except KeyError:
            raise KeyError(f"sql/{self._noun}.sql has no statement '{name}'") from None


def parse(text: str) -> Mapping[str, tuple[str, str]]:
    """Splits a file into ``{name: (description, sql)}``; ValueError if a name comes twice or has no description."""
    found: dict[str, tuple[str, str]] = {}
    heads = list(NAME.finditer(text))
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        name, comment = head.groups()
        description = " ".join(line.removeprefix("--").strip() for line in comment.splitlines())
        if name in found or not description:
            raise ValueError(f"statement '{name}' is doubled or not described")
        found[name] = (description, text[head.end() : following.start() if following else None].strip())
    return found
