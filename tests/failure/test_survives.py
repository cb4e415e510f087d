"""What else goes wrong in real life, on a live system: each case ends with the promise kept."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Callable

import psutil
import psycopg
import pytest

from benchmarks.harness import Server, role_of
from datadistiller.store import embedded
from tests.failure import invariants


def note(n: int, paragraphs: int = 3) -> tuple[str, bytes]:
    """A text of its own."""
    text = "\n\n".join(
        f"Note {n}, paragraph {k}: the harbour master of Port {n * 7 + k} keeps a brass bell."
        for k in range(paragraphs)
    )
    return f"note-{n}.txt", text.encode()


def processes(server: Server, role: str) -> list[psutil.Process]:
    return [p for p in server.tree() if role_of(p) == role]


def connect(server: Server) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(embedded.url_of(server.folder / "postgres"))


def test_a_transaction_left_open_does_not_hold_up_documents(server: Server) -> None:
    with connect(server) as ours, psycopg.connect(embedded.url_of(server.folder / "postgres", "postgres")) as foreign:
        for conn in (ours, foreign):
            conn.execute("SET idle_in_transaction_session_timeout = 0")
            conn.commit()
            conn.execute("SELECT pg_current_xact_id()")
        states = server.wait(server.upload_all(note(n) for n in range(10)), seconds=60)
        assert {state["status"] for state in states.values()} == {"completed"}
        assert server.query("Which port has the brass bell of note 3?")["citations"]


def test_postgresql_that_hangs_and_comes_back(server: Server) -> None:
    jobs = server.upload_all(note(n) for n in range(30))
    frozen = processes(server, "postgres")
    for process in frozen:
        process.suspend()
    try:
        begun = time.monotonic()
        answer = server.http.post("/api/v2/documents/upload", files={"file": note(99)}, timeout=90)
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        time.sleep(max(0.0, 20 - (time.monotonic() - begun)))
    finally:
        for process in frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
    jobs.append(str(server.upload(*note(99))["job_id"]))
    states = server.wait(jobs, seconds=120)
    assert {state["status"] for state in states.values()} == {"completed"}
    time.sleep(6)
    invariants.assert_stores_agree(server, "after PostgreSQL hung")


def test_without_a_follower_jobs_wait_and_are_explained(server: Server) -> None:
    server.wait(server.upload_all([note(1)]))
    with connect(server) as thief:
        thief.autocommit = True
        (api,) = processes(server, "api")
        # The lock is free for a moment while the API restarts; take it before its follower does.
        api.kill()
        take_follower_lock(thief)
        wait_for(lambda: server.http.get("/livez").status_code == 200)
        job = str(server.upload(*note(2))["job_id"])
        wait_for(lambda: server.status(job)["status"] == "embedding")
        time.sleep(3)
        assert server.status(job)["status"] == "embedding"
        health = server.http.get("/health")
        assert health.status_code == 503
        assert "index" in health.text
        assert "follower" in str(server.http.get("/api/v2/doctor").json())
    state = server.wait([job], seconds=60)[job]
    assert state["status"] == "completed"
    wait_for(lambda: server.http.get("/health").status_code == 200)


def take_follower_lock(conn: psycopg.Connection[tuple[object, ...]]) -> None:
    """Takes every advisory lock that a follower holds or would hold, by the key a follower used last."""
    from datadistiller.store import changes

    conn.execute("SELECT pg_advisory_lock(%s)", (changes.LOCK_KEY,))


def wait_for(true: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(Exception):
            if true():
                return
        time.sleep(0.05)
    pytest.fail("it did not come about")


def test_a_database_restored_from_an_older_copy(server: Server) -> None:
    kept = server.wait(server.upload_all(note(n) for n in range(5)))
    server.stop()
    shutil.copytree(server.folder / "postgres", server.folder / "yesterday", symlinks=True)
    server.start()
    lost = server.wait(server.upload_all(note(n) for n in range(5, 12)))
    server.http.delete(f"/api/v2/documents/{next(iter(kept))}").raise_for_status()
    server.stop()
    shutil.rmtree(server.folder / "postgres")
    (server.folder / "yesterday").rename(server.folder / "postgres")
    server.start()
    # New documents get chunk numbers that the newer index used for others.
    fresh = server.wait(server.upload_all(note(n) for n in range(20, 27)))
    assert {state["status"] for state in fresh.values()} == {"completed"}
    cited = {c["job_id"] for n in range(12) for c in server.query(f"Note {n} paragraph", top_k=50)["citations"]}
    assert not cited & lost.keys()
    with connect(server) as conn:
        live = invariants.live_chunks(conn)
    server.stop()
    assert invariants.index_contents(server.folder / "index") == live


@pytest.mark.parametrize("action", ["cancel", "delete"])
def test_cancel_and_delete_at_every_stage(server: Server, action: str) -> None:
    stopped = []
    for n, delay in enumerate([0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3]):
        job = str(server.upload(*note(n, paragraphs=1500))["job_id"])
        time.sleep(delay)
        if action == "cancel":
            answer = server.http.post(f"/api/v2/documents/{job}/cancel")
            assert answer.status_code in (200, 409)  # 409: it was faster
        else:
            server.http.delete(f"/api/v2/documents/{job}").raise_for_status()
            assert server.http.get(f"/api/v2/documents/status/{job}").status_code == 404
            assert job not in {c["job_id"] for c in server.query("harbour master brass bell", top_k=50)["citations"]}
        stopped.append(job)
    last = str(server.upload(*note(77))["job_id"])
    assert server.wait([last], seconds=30)[last]["status"] == "completed"
    time.sleep(6)
    invariants.assert_stores_agree(server, f"after {action}")


def test_a_cancelled_job_can_be_retried(server: Server) -> None:
    job = str(server.upload(*note(5, paragraphs=6000))["job_id"])
    wait_for(lambda: server.status(job)["status"] != "pending", seconds=60)
    server.http.post(f"/api/v2/documents/{job}/cancel").raise_for_status()
    assert not server.query("harbour master brass bell")["citations"]
    server.http.post(f"/api/v2/documents/{job}/retry").raise_for_status()
    state = server.wait([job], seconds=120)[job]
    assert (state["status"], state["attempt"]) == ("completed", 2)
    assert server.query("harbour master brass bell")["citations"]


def test_killed_workers_are_replaced_without_a_hand(server: Server) -> None:
    jobs = server.upload_all(note(n, paragraphs=60) for n in range(20))
    for role in ("embed", "ingest", "postgres", "api"):
        time.sleep(0.5)
        processes(server, role)[0].send_signal(signal.SIGKILL)
    states = {}
    wait_for(lambda: bool(states.update(server.wait(jobs, seconds=60)) or True), seconds=120)
    assert {state["status"] for state in states.values()} == {"completed"}
