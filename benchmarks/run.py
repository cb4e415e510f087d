"""``python -m benchmarks.run [NAME ...]``: measures what the README publishes and rewrites its table.

Names: startup, upload, ingest, query, vectors, recovery, scaling, soak; without names all of them, one after the other.
Nothing else heavy should run on the machine. Each row says what was measured, the bar, and the figure.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import os
import platform
import signal
import sys
from pathlib import Path

from benchmarks.rows import Row

NAMES = ("startup", "upload", "ingest", "query", "vectors", "recovery", "scaling", "soak")
MARKS = ("<!-- bench -->", "<!-- /bench -->")
README = Path(__file__).parent.parent / "README.md"


def table(rows: list[Row], command: str = "make bench") -> str:
    """The rows as a Markdown table with a line about the machine."""
    lines = ["| what | bar | measured | |", "|---|---|---|---|"]
    lines += [f"| {r.what} | {r.bar} | {r.figure} | {r.verdict} |" for r in rows]
    day = datetime.datetime.now(datetime.UTC).date()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {day}"
    return "\n".join([f"One run of `{command}` on {machine}.", "", *lines])


def publish(text: str, path: Path = README) -> None:
    """Replaces what stands between the marks of a page."""
    page = path.read_text(encoding="utf-8")
    before, rest = page.split(MARKS[0], 1)
    after = rest.split(MARKS[1], 1)[1]
    path.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def main() -> int:
    """Runs the named benchmarks; the README is rewritten only by a full run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []])
    names = parser.parse_args().names or list(NAMES)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    rows: list[Row] = []
    for name in names:
        print(f"== {name}", flush=True)
        found = importlib.import_module(f"benchmarks.{name}").measure()
        for row in found:
            print(f"{row.what}: {row.figure} (bar: {row.bar}) {row.verdict}", flush=True)
        rows += found
    if names == list(NAMES):
        publish(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
