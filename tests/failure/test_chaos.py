"""Kill anything, again and again, while real documents go in: nothing lost, nothing doubled, no hand needed."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time

import httpx
import psutil
import pytest

from benchmarks.harness import DATA, Server, role_of, small_documents
from tests.failure import invariants

FORMATS = ("txt", "markdown", "html", "pdf_born_digital", "docx", "pptx", "xlsx", "csv", "json", "eml", "epub",
           "pdf_corrupt", "pdf_encrypted", "pdf_scanned")  # fmt: skip
#: Codes that tell the truth about these files; anything else is a failure of ours.
TRUE_REASONS = {"no_text", "encrypted", "damaged", "unsupported_type", "empty_document", "limit_exceeded",
                "unreadable_document", "pages_failed", "parser_memory"}  # fmt: skip
KILLS = int(os.environ.get("CHAOS_KILLS", "10"))
TREE_KILLS = int(os.environ.get("CHAOS_TREE_KILLS", "3"))
SEED = int(os.environ.get("CHAOS_SEED", "20261124"))


def real_documents() -> list[tuple[str, bytes]]:
    """200 and more real files of all supported formats, none large, each with other bytes."""
    chosen: dict[bytes, str] = {}
    for kind in FORMATS:
        folder = DATA / "documents" / kind
        for path in sorted(folder.iterdir() if folder.is_dir() else []):
            if path.is_file() and 0 < path.stat().st_size < 60_000:
                chosen.setdefault(path.read_bytes(), path.name)
    files = [(name, content) for content, name in chosen.items()]
    return files[:190] + small_documents(60)


def upload_until_accepted(server: Server, files: list[tuple[str, bytes]], accepted: dict[str, str]) -> None:
    """Uploads each file until the server took it or refused its content; what it answers 202 to is remembered."""
    for name, content in files:
        for _ in range(600):
            try:
                answer = server.http.post("/api/v2/documents/upload", files={"file": (name, content)})
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if answer.status_code == 202:
                accepted[answer.json()["job_id"]] = name
            if answer.status_code < 429:
                break
            time.sleep(0.2)


def kill_one(server: Server, chance: random.Random) -> str:
    """SIGKILL to a random process of the tree; returns its role."""
    victims = [(p, role) for p in server.tree() if (role := role_of(p)) not in ("supervisor", "gone")]
    victim, role = chance.choice(victims)
    with contextlib.suppress(psutil.NoSuchProcess):  # database connections and parsers come and go
        victim.kill()
    return role


def test_nothing_is_lost_or_doubled_whatever_dies(server: Server) -> None:
    if not DATA.is_dir():
        pytest.skip(f"the real documents are not at {DATA} (set DATADISTILLER_DATA)")
    chance = random.Random(SEED)
    files = real_documents()
    assert len(files) >= 200
    accepted: dict[str, str] = {}
    uploads = threading.Thread(target=upload_until_accepted, args=(server, files, accepted))
    uploads.start()
    killed = []
    for n in range(KILLS + TREE_KILLS):
        time.sleep(chance.uniform(0.5, 4))
        if n % (1 + KILLS // TREE_KILLS) == KILLS // TREE_KILLS:
            server.kill_everything()
            killed.append("everything")
            server.start()
        else:
            killed.append(kill_one(server, chance))
    uploads.join(timeout=300)
    assert not uploads.is_alive(), f"uploads hang after {killed}"
    states = wait_patiently(server, list(accepted))
    wrong = {
        f"{accepted[job]}: {state['status']} {state['error']}"
        for job, state in states.items()
        if state["status"] not in ("completed", "partial", "failed")
        or (state["error"] and state["error"]["code"] not in TRUE_REASONS)
    }
    assert not wrong, f"after killing {killed}"
    assert sum(state["status"] == "completed" for state in states.values()) > 0.8 * len(states)
    time.sleep(6)  # one sweep after the grace
    invariants.assert_stores_agree(server, f"after killing {killed}")


def wait_patiently(server: Server, jobs: list[str]) -> dict[str, dict[str, object]]:
    """Waits for all jobs through connection losses; fails naming what still hangs."""
    until = time.monotonic() + 300
    states: dict[str, dict[str, object]] = {}
    for job in jobs:
        while job not in states or states[job]["status"] not in invariants.FINISHED:
            assert time.monotonic() < until, f"job {job} hangs: {states.get(job)}"
            try:
                states[job] = server.status(job)
            except httpx.HTTPError:
                time.sleep(0.2)
            time.sleep(0.01)
    return states
