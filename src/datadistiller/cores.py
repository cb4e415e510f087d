"""How many cores this process may use: those of the machine, its affinity, and the quota of its container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def allowed(root: Path = Path("/")) -> int:
    """At least 1. A quota of one and a half cores counts as two: one thread alone could not use it up."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([here, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Every limit of the process's control groups, in cores; none where there are no control groups."""
    for line in _words(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base = root / "sys/fs/cgroup"
            for folder in _upwards(base, path):
                match " ".join(_words(folder / "cpu.max")).split():
                    case [quota, period] if quota.isdigit() and period.isdigit() and int(period):
                        yield int(quota) / int(period)
        elif "cpu" in controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup/cpu", path):
                quota, period = (" ".join(_words(folder / f"cpu.cfs_{name}_us")) for name in ("quota", "period"))
                if quota.isdigit() and period.isdigit() and int(period):
                    yield int(quota) / int(period)


def _upwards(base: Path, path: str) -> Iterator[Path]:
    """The group's folder and those above it. In a container the path may be one of the host, which is not there."""
    folder = base / path.strip("/")
    yield from (each for each in (folder, *folder.parents) if each == base or base in each.parents)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
