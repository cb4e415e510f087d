"""What the doctor says of the index and the workers, on parts that answer as a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datadistiller import pipeline
from datadistiller.runtime.doctor import LAG_SECONDS, Doctor, Finding, Level
from datadistiller.runtime.index_status import IndexState

KNOWN: dict[str, Any] = {
    "ready": True, "serving": True, "entries": 5, "lag": 0, "lag_seconds": 0.0, "error": None, "hint": ""
}  # fmt: skip


class System:
    """The answers of all parts."""

    def __init__(self, roles: Sequence[str] = (), messages: int = 0, unfinished: int = 0, **follower: Any) -> None:
        self._roles = roles
        self._messages = messages
        self._unfinished = unfinished
        self._index = IndexState(**{**KNOWN, **follower})

    async def state(self) -> IndexState:
        return self._index

    async def version(self) -> str:
        return "18"

    async def counts(self) -> dict[str, int]:
        return {"database_bytes": 1, "documents": 2, "chunks": 9, "dead_letters": 0, "messages": self._messages}

    async def live_chunks(self) -> int:
        return 9

    async def unfinished(self, limit: int = 200) -> list[Any]:
        job = {"job_id": 1, "filename": "a", "status": "embedding", "reason": "It waits.", "hint": ""}
        return [SimpleNamespace(**job)] * min(limit, self._unfinished)

    async def alive(self, _: float) -> list[Any]:
        return [SimpleNamespace(role=role) for role in self._roles]

    async def depths(self) -> list[Any]:
        return []

    async def check(self) -> None:
        return None


async def examined(system: System, folder: Path, part: str) -> list[Finding]:
    parts: Any = system
    roles = pipeline.needed_roles(broker=False, index_inside=True)
    doctor = Doctor(parts, parts, parts, parts, parts, None, parts, "an engine", roles, folder, 8, 0)
    return [finding for finding in await doctor.examine() if finding.part == part]


@pytest.mark.parametrize(
    ("system", "level"),
    [
        (System(), Level.WARNING),
        (System(messages=3), Level.OK),
        (System(unfinished=1), Level.OK),
        (System(lag=4, lag_seconds=LAG_SECONDS / 2), Level.OK),
        (System(messages=3, lag=4, lag_seconds=LAG_SECONDS * 2), Level.WARNING),
        (System(entries=9), Level.OK),
    ],
    ids=["damaged", "work waits", "to be acknowledged", "behind", "standing still", "equal"],
)
async def test_the_index_is_worth_a_warning_only_if_it_does_not_move(
    system: System, level: Level, tmp_path: Path
) -> None:
    found = [finding for finding in await examined(system, tmp_path, "index") if "belong" in finding.sentence]
    assert [finding.level for finding in found] == [level]


async def test_workers_are_counted_in_words(tmp_path: Path) -> None:
    found = await examined(System(["ingest", "embed", "embed"]), tmp_path, "workers")
    said = [finding.sentence for finding in found]
    assert said == ["1 worker is alive for ingest.", "2 workers are alive for embed."]
    assert {finding.level for finding in await examined(System(["ingest"]), tmp_path, "workers")} == {
        Level.OK,
        Level.ERROR,
    }
