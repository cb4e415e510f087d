"""Start-up time and idle memory of ``up``."""

from __future__ import annotations

import time

from benchmarks.harness import running
from benchmarks.rows import Row


def measure() -> list[Row]:
    """Seconds to ready on a new and on an old folder; proportional set size at rest, per role."""
    begun = time.perf_counter()
    with running() as server:
        first = time.perf_counter() - begun
        time.sleep(15)
        memory = server.memory_by_role()
        server.stop()
        second = server.start()
    total = sum(memory.values())
    parts = ", ".join(f"{role} {mb:.0f}" for role, mb in sorted(memory.items(), key=lambda kv: -kv[1]))
    return [
        Row("start on a new folder, until ready", "", f"{first:.1f} s"),
        Row("start on an existing folder, until ready", "", f"{second:.1f} s"),
        Row("idle memory, all processes (PSS)", "< 700 MB", f"{total:.0f} MB ({parts})", total < 700),
    ]
