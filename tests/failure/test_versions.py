"""A document gets new versions while processes are killed: at every moment an answer cites one version, all of it."""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time

import httpx
import psutil

from benchmarks.harness import Server, role_of
from tests.failure import invariants

ROUNDS = 2
KILLED = ["ingest", "embed", "postgres"]
PARAGRAPHS = 100


def text(version: int) -> bytes:
    """Four of five paragraphs are the same in each version; all name the bell, and those that differ their version."""
    return "\n\n".join(
        f"Paragraph {k} of the harbour book"
        + (f" in edition {version}" if k % 5 == 0 else "")
        + f": the harbour master of Port {k * 7} keeps a brass bell beside the door and rings it at high water, "
        "so that the fishermen of the village hear it above the wind and come home before the tide turns again."
        for k in range(PARAGRAPHS)
    ).encode()


def question(server: Server) -> tuple[set[int], set[int]]:
    """The versions that one answer cites, by what is said of them, and by their own words."""
    asked = {"question": "harbour master brass bell edition", "top_k": 20, "mode": "keyword"}
    citations = server.http.post("/api/v2/query", json=asked).raise_for_status().json()["citations"]
    words = {int(n) for c in citations for n in re.findall(r"in edition (\d+)", c["text"])}
    return {c["version"] for c in citations}, words


def watch(server: Server, stop: threading.Event, seen: list[tuple[set[int], set[int]]]) -> None:
    """Asks until it is told to stop; a server that is away for a moment says nothing."""
    while not stop.is_set():
        with contextlib.suppress(httpx.HTTPError):
            seen.append(question(server))


def put(server: Server, job: str, version: int) -> None:
    """Sends a version until the server has it."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            answer = server.http.put(f"/api/v2/documents/{job}", files={"file": ("book.txt", text(version))})
            if answer.status_code == 202:
                return
        time.sleep(0.2)
    raise AssertionError(f"version {version} was not taken")


def kill_workers(server: Server, chance: random.Random) -> None:
    """SIGKILL to a process of each kind that works on documents; then they are left alone, to be able to finish."""
    for role in chance.sample(KILLED, len(KILLED)):
        time.sleep(chance.uniform(0.1, 1.0))
        for victim in [p for p in server.tree() if role_of(p) == role][:1]:  # there is none while it starts again
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()


def test_answers_cite_one_version_whatever_dies(server: Server) -> None:
    chance = random.Random(20261128)
    job = str(server.upload("book.txt", text(1))["job_id"])
    server.wait([job], seconds=120)
    stop, seen = threading.Event(), list[tuple[set[int], set[int]]]()
    watcher = threading.Thread(target=watch, args=(server, stop, seen))
    watcher.start()
    try:
        for version in range(2, 2 + ROUNDS):
            put(server, job, version)
            kill_workers(server, chance)
            finish(server, job, version)
    finally:
        stop.set()
        watcher.join()
    assert len(seen) > ROUNDS
    assert all(len(versions) == 1 and words <= versions for versions, words in seen)
    order = [next(iter(versions)) for versions, _ in seen]
    assert order == sorted(order) and {1, 1 + ROUNDS} <= {*order, *question(server)[0]}
    time.sleep(6)  # one sweep after the grace
    invariants.assert_stores_agree(server, "after versions and kills")


def finish(server: Server, job: str, version: int) -> None:
    """Waits until the version is what queries find."""
    until, state = time.monotonic() + 180, {}
    while time.monotonic() < until:
        with contextlib.suppress(httpx.HTTPError):
            state = server.status(job)
            if state["status"] in invariants.FINISHED:
                break
        time.sleep(0.05)
    assert (state["status"], state["version"], state["next_version"]) == ("completed", version, None), state
