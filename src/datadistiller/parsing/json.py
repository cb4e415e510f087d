"""JSON and JSON lines: each value on a line of its own with the path that leads to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datadistiller import errors
from datadistiller.model import BlockKind
from datadistiller.parsing import Header, Item, formats
from datadistiller.parsing.pages import PageBuilder
from datadistiller.parsing.text import read_text

_WORDS = {None: "null", True: "true", False: "false"}


def lines(value: Any) -> Iterator[str]:
    """``path: value`` for each scalar in ``value``, in order; a list of scalars is one line."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, dict):
            stack += [(f"{path}.{key}" if path else str(key), child) for key, child in reversed(item.items())]
        elif isinstance(item, list) and any(isinstance(child, dict | list) for child in item):
            stack += [(f"{path}[{i}]" if path else "", child) for i, child in reversed(list(enumerate(item, 1)))]
        else:
            text = ", ".join(map(_scalar, item)) if isinstance(item, list) else _scalar(item)
            if text.strip():
                yield f"{path}: {text}" if path else text


def _scalar(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else _WORDS[value]
        if value is None or value is True or value is False
        else str(value)
    )


def _records(value: Any) -> Iterator[Any]:
    """What becomes a block each: the items of a list, the members of an object that hold more than a value."""
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        yield from value
    elif isinstance(value, dict):
        yield {key: item for key, item in value.items() if not isinstance(item, dict | list)}
        for key, item in value.items():
            if isinstance(item, list) and any(isinstance(child, dict) for child in item):
                yield from ({key: child} for child in item)
            elif isinstance(item, dict | list):
                yield {key: item}
    else:
        yield value


def _load(text: str, media_type: str) -> list[Any]:
    """All values of a file: one, or one a line. Raises ``errors.DamagedDocument`` with the line."""
    if media_type == formats.JSON:
        try:
            return [json.loads(text, strict=False)]  # line breaks inside strings are common and harmless
        except ValueError as error:
            first = getattr(error, "lineno", 1)
            if "\n" not in text.strip():
                raise errors.DamagedDocument(f"The file is not valid JSON (line {first}).") from None
    return list(_load_lines(text))


def _load_lines(text: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line, strict=False)
            except ValueError:
                raise errors.DamagedDocument(f"The file is not valid JSON (line {number}).") from None


class JsonParser:
    """Reads JSON and JSON lines. A ``title`` at the top is the title."""

    name = "json"
    media_types = (formats.JSON, formats.JSON_LINES)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. The whole file is held in memory. Raises ``errors.DamagedDocument``."""
        file = read_text(path)
        values = _load(file.text, media_type)
        title = values[0].get("title") if len(values) == 1 and isinstance(values[0], dict) else None
        page = PageBuilder()
        for value in values:
            for record in _records(value) if len(values) == 1 else (value,):
                page.add(BlockKind.PARAGRAPH, "\n".join(lines(record)))
        yield Header(self.name, media_type, title[:300] if isinstance(title, str) else "", 1, file.encoding)
        yield from file.warnings
        yield page.build(1)
