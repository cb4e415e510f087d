"""What commands print: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {"completed": "green", "partial": "yellow", "failed": "red", "cancelled": "dim", "ok": "green",
          "warning": "yellow", "error": "red"}  # fmt: skip


def console() -> Console:
    """Standard output, coloured only on a terminal."""
    # Without a terminal nobody sees where a line ends: tables are not squeezed.
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=240)


def as_json(value: object) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def styled(word: str) -> Text:
    """A status or level in its colour."""
    return Text(word, style=STYLES.get(word, ""))


def plain(text: str) -> Text:
    """Text from outside, never read as markup."""
    return Text(text)


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def reason(job: Mapping[str, Any]) -> str:
    """Why a job is not completed, in one line; empty if there is nothing to say."""
    error = job.get("error")
    return f"{error['message']} {error['hint']}" if error else ""


def progress(job: Mapping[str, Any]) -> str:
    """How far a job is; empty if it will get no further without having got there."""
    return "" if job["status"] in ("failed", "cancelled") else f"{job['progress']} %"


def table(*columns: str, title: str | None = None) -> Table:
    """A table with these columns."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made
