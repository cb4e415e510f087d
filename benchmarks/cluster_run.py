"""``python -m benchmarks.cluster_run [NAME ...]``: measures the cluster and rewrites the table of its guide page.

Names: pace, ingest, recovery, query; without names all of them. The services are started natively, all on this
machine, on which nothing else heavy should run. ``--small`` only tries the way.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path

from benchmarks import run
from benchmarks.rows import Row

NAMES = ("pace", "ingest", "recovery", "query")
SMALL = {"pace": (12, 12), "ingest": (2, 5), "recovery": (2,), "query": (1000, 30)}
PAGE = Path(__file__).parent.parent / "docs" / "guide" / "cluster.md"


def main() -> int:
    """Runs the named parts; the page is rewritten only by a full run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []])
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    names = given.names or list(NAMES)
    rows: list[Row] = []
    for name in names:
        print(f"== {name}", flush=True)
        measure = importlib.import_module(f"benchmarks.cluster_{name}").measure
        found = measure(*SMALL[name]) if given.small else measure()
        for row in found:
            print(f"{row.what}: {row.figure} {row.bar and f'(bar: {row.bar})'} {row.verdict}", flush=True)
        rows += found
    if names == list(NAMES) and not given.small:
        run.publish(run.table(rows, "make bench-cluster"), PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
