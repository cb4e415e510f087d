"""A worker that dies between storing what lies in a document and recording it: nothing is lost, nothing doubled."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from benchmarks.harness import Server, role_of
from datadistiller.objects.local import LocalObjects
from datadistiller.runtime.reaper import Sweeper
from datadistiller.store import embedded
from datadistiller.store.database import Database
from datadistiller.store.inspection import Inspection
from tests.acceptance.children_kit import packed

FILES = {
    "light.txt": b"The lighthouse of Kermorvan was built in 1849. It stands on a rock above the sea.",
    "ferry.txt": b"The ferry to Molene leaves at nine in the morning, but not on Sundays in winter.",
}
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for it."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


async def test_killed_between_the_objects_and_the_settlement(start_server: Callable[..., Server]) -> None:
    server = start_server()
    url, folder = embedded.url_of(server.folder / "postgres"), server.folder / "objects"
    with psycopg.connect(url) as ours:
        ours.execute("SELECT pg_advisory_xact_lock(hashtext('datadistiller.children'))")  # settlements wait here
        job = str(server.upload("coast.zip", packed(FILES))["job_id"])
        until(lambda: ours.execute(WAITING).fetchone() == (1,))
        assert len([path for path in folder.rglob("*.txt") if path.is_file()]) == 2, "the bytes are there already"
        for worker in [process for process in server.tree() if role_of(process) == "ingest"]:
            worker.kill()
    assert server.wait([job], seconds=60)[job]["status"] == "completed"
    found = server.http.get(f"/api/v2/documents/{job}/children").json()["children"]
    states = server.wait([child["job"]["job_id"] for child in found], seconds=60)
    assert [state["status"] for state in states.values()] == ["completed"] * 2
    for child in found:
        content = server.http.get(f"/api/v2/documents/{child['job']['job_id']}/content").content
        assert content == FILES[child["path"]]
    assert stored(folder) > {job, *states}
    await sweep(server, url)
    assert stored(folder) == {job, *states}, "what the dead worker had stored is swept"


def stored(folder: Path) -> set[str]:
    """The jobs that have an object."""
    return {path.parent.name for path in folder.rglob("*") if path.is_file()}


async def sweep(server: Server, url: str) -> None:
    """What the sweeper does when the grace is over; only what it sees twice goes."""
    database = Database(url, max_size=2, name="test")
    await database.open()
    store = LocalObjects(server.folder / "objects")
    sweeper = Sweeper(store, Inspection(database), 0.001, 3600)
    await sweeper.sweep()
    await sweeper.sweep()
    await store.close()
    await database.close()
