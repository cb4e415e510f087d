"""``python -m benchmarks.run [NAME ...]``: measures what the README publishes and rewrites its table.

Names: startup, upload, ingest, query, vectors, recovery, scaling, soak; without names all of them, one after the other.
Nothing else heavy should run on the machine. Each row says what was measured, the bar, and the figure. A run of some
parts replaces their rows; ``figures.json`` keeps those of every part with the day it was measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib
import json
import os
import platform
import signal
import sys
from pathlib import Path

from benchmarks.rows import Row

NAMES = ("startup", "upload", "ingest", "query", "vectors", "recovery", "scaling", "soak")
MARKS = ("<!-- bench -->", "<!-- /bench -->")
README = Path(__file__).parent.parent / "README.md"
FIGURES = Path(__file__).with_name("figures.json")


def table(rows: list[Row], command: str = "make bench", days: str = "") -> str:
    """The rows as a Markdown table with a line about the machine and the days."""
    lines = ["| what | bar | measured | |", "|---|---|---|---|"]
    lines += [f"| {r.what} | {r.bar} | {r.figure} | {r.verdict} |" for r in rows]
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    return "\n".join([f"`{command}` on {machine}, {days or today()}.", "", *lines])


def today() -> str:
    """The day of a measurement."""
    return str(datetime.datetime.now(datetime.UTC).date())


def remember(name: str, rows: list[Row], path: Path = FIGURES) -> None:
    """Keeps the rows of a part in place of those it had."""
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    kept[name] = {"day": today(), "rows": [dataclasses.asdict(row) for row in rows]}
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def remembered(path: Path = FIGURES) -> str:
    """The table of what is kept, in the order of the parts."""
    kept = json.loads(path.read_text("utf-8"))
    parts = [kept[name] for name in NAMES if name in kept]
    days = sorted({part["day"] for part in parts})
    return table(
        [Row(**row) for part in parts for row in part["rows"]], days=" to ".join(dict.fromkeys((days[0], days[-1])))
    )


def publish(text: str, path: Path = README) -> None:
    """Replaces what stands between the marks of a page."""
    page = path.read_text(encoding="utf-8")
    before, rest = page.split(MARKS[0], 1)
    after = rest.split(MARKS[1], 1)[1]
    path.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def main() -> int:
    """Runs the named benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []])
    names = parser.parse_args().names or list(NAMES)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    for name in names:
        print(f"== {name}", flush=True)
        found = importlib.import_module(f"benchmarks.{name}").measure()
        for row in found:
            print(f"{row.what}: {row.figure} (bar: {row.bar}) {row.verdict}", flush=True)
        remember(name, found)
        publish(remembered())
    return 0


if __name__ == "__main__":
    sys.exit(main())
