"""How many cores a process may use, as the kernel and its container have it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datadistiller import cores
from datadistiller.settings import Settings

HERE = len(os.sched_getaffinity(0))


def written(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", HERE),
        ("100000 100000\n", 1),
        ("150000 100000\n", min(2, HERE)),
        ("5000 100000\n", 1),
        ("", HERE),
    ],
)
def test_the_quota_of_a_container_counts(tmp_path: Path, limit: str, expected: int) -> None:
    root = written(tmp_path, **{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": limit})
    assert cores.allowed(root) == expected


def test_the_quotas_of_groups_above_count_too(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/system/one\n",
        "sys/fs/cgroup/system/one/cpu.max": "max 100000\n",
        "sys/fs/cgroup/system/cpu.max": "50000 100000\n",
    }
    assert cores.allowed(written(tmp_path, **files)) == 1


def test_the_first_version_of_control_groups_counts(tmp_path: Path) -> None:
    base = "sys/fs/cgroup/cpu/docker"
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker\n1:memory:/docker\n",
        f"{base}/cpu.cfs_quota_us": "90000\n",
        f"{base}/cpu.cfs_period_us": "100000\n",
    }
    assert cores.allowed(written(tmp_path, **files)) == 1
    assert cores.allowed(written(tmp_path, **{f"{base}/cpu.cfs_quota_us": "-1\n"})) == HERE


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert cores.allowed(tmp_path) == HERE


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "allowed", lambda: 16)  # no machine has as many as each case needs
    assert Settings().embed_workers == 4
    assert Settings().embedding_share == 4
    assert Settings(embed_workers=6).embedding_share == 3
    assert Settings(embed_workers=32).embedding_share == 1
    assert Settings(embed_workers=0).embedding_share == 16
    assert Settings(embedding_threads=3).embedding_share == 3
