"""The README's figures are those that the benchmarks wrote, in their words."""

from __future__ import annotations

import json

from benchmarks import run
from benchmarks.rows import Row


def test_the_table_holds_what_was_measured() -> None:
    kept = json.loads(run.FIGURES.read_text("utf-8"))
    page = run.README.read_text("utf-8").split(run.MARKS[0])[1].split(run.MARKS[1])[0]
    rows = [Row(**row) for name in run.NAMES if name in kept for row in kept[name]["rows"]]
    assert [line for line in page.splitlines() if line.startswith("|")] == [
        line for line in run.table(rows).splitlines() if line.startswith("|")
    ]
    assert all(day in page for day in (min(p["day"] for p in kept.values()), max(p["day"] for p in kept.values())))
