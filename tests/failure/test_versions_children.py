"""Archives get new versions while all dies and other people use the same files: in the end all is as last sent."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import psycopg

from benchmarks.harness import Server, role_of
from tests.acceptance.children_kit import packed
from tests.failure import invariants
from tests.failure.test_children import sweep

SECONDS = float(os.environ.get("CHAOS_SECONDS", "10"))
SEED = int(os.environ.get("CHAOS_SEED", "20261128"))
KILLED = ("ingest", "embed", "parser", "api", "postgres")
NAMES = ("anchor", "beacon", "capstan", "davit", "ensign", "fender", "gangway", "halyard")
DEEP = ("keel", "lantern", "mast")


def text(name: str, edition: int) -> bytes:
    """A file; the same words are the same bytes, whoever has them."""
    return f"The {name} of the harbour, edition {name}{edition}. It is kept in the shed behind the light.".encode()


def archive(files: dict[str, int]) -> bytes:
    """Some files in an archive, those of ``DEEP`` in one inside of it."""
    flat = {f"{name}.txt": text(name, edition) for name, edition in files.items() if name in NAMES}
    deep = {f"{name}.txt": text(name, edition) for name, edition in files.items() if name in DEEP}
    return packed({**flat, "deep.zip": packed(deep)} if deep else flat)


class Chaos:
    """What happens to a server; each thread has chances of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stop = threading.Event()
        self.errors: list[str] = []
        self.archives: list[str] = []
        self.mine: set[str] = set()  # uploaded by themselves
        self.killed: list[str] = []

    def run(self, *works: Callable[[random.Random], None]) -> None:
        """Does all of them at once, again and again, for ``SECONDS``."""
        threads = [threading.Thread(target=self._repeat, args=(n, work)) for n, work in enumerate(works)]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        self.stop.set()
        for thread in threads:
            thread.join()

    def _repeat(self, n: int, work: Callable[[random.Random], None]) -> None:
        chance = random.Random(SEED + n)
        while not self.stop.is_set():
            try:
                work(chance)
            except httpx.HTTPError:  # it is being killed
                time.sleep(0.05)
            except Exception as error:
                self.errors.append(repr(error))
                return

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request; an answer nobody foresaw is an error."""
        answer = self.server.http.request(method, f"/api/v2/documents{path}", **more)
        if answer.status_code not in (200, 202, 204, 404, 409, 503):
            self.errors.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer

    def change(self, chance: random.Random) -> None:
        """A new version of an archive, with files added, changed and left out."""
        wanted = chance.sample(NAMES + DEEP, chance.randint(2, 8))
        body = archive({name: chance.randint(1, 4) for name in wanted})
        job = chance.choice(self.archives)
        self.call("PUT", f"/{job}", files={"file": ("harbour.zip", body)})
        time.sleep(chance.uniform(0, 0.8))

    def meddle(self, chance: random.Random) -> None:
        """Somebody else uploads the same bytes, deletes them, tries again, stops."""
        name, edition = chance.choice(NAMES + DEEP), chance.randint(1, 4)
        what = chance.randrange(6)
        if what < 3:
            answer = self.call("POST", "/upload", files={"file": (f"{name}.txt", text(name, edition))})
            if answer.status_code == 202:
                self.mine.add(answer.json()["job_id"])
        elif what == 3 and self.mine:
            self.call("DELETE", f"/{chance.choice(sorted(self.mine))}")
        elif what == 4:
            self.call("POST", f"/{chance.choice(self.archives)}/{chance.choice(['cancel', 'retry'])}")
        else:
            found = self.call("GET", f"/{chance.choice(self.archives)}/children").json().get("children", [])
            jobs = [child["job"]["job_id"] for child in found if child["job"]]
            if jobs:
                self.call("POST", f"/{chance.choice(jobs)}/{chance.choice(['cancel', 'retry'])}")
        time.sleep(chance.uniform(0, 0.2))

    def come_and_go(self, chance: random.Random) -> None:
        """An archive that shares files with the others is uploaded, and deleted again."""
        wanted = {name: chance.randint(1, 4) for name in chance.sample(NAMES + DEEP, 4)}
        mark = f"visitor {chance.random()}".encode()  # so that it is none of the others
        body = packed({"visitor.txt": mark, "inside.zip": archive(wanted)})
        key = {"Idempotency-Key": hashlib.sha256(mark).hexdigest()}
        answer = insisted(self.server, "POST", "/upload", files={"file": ("visitor.zip", body)}, headers=key)
        time.sleep(chance.uniform(0, 1.0))
        insisted(self.server, "DELETE", f"/{answer.json()['job_id']}")

    def kill(self, chance: random.Random) -> None:
        """SIGKILL to a process."""
        time.sleep(chance.uniform(0.2, 1.2))
        role = chance.choice(KILLED)
        for victim in [process for process in self.server.tree() if role_of(process) == role][:1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
                self.killed.append(role)


def insisted(server: Server, method: str, path: str, **more: Any) -> httpx.Response:
    """A request, until the server is there."""
    until = time.monotonic() + 60
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = server.http.request(method, f"/api/v2/documents{path}", **more)
            if answer.status_code < 500:
                return answer
        assert time.monotonic() < until, f"{method} {path}"
        time.sleep(0.2)


def documents(server: Server) -> Iterator[dict[str, Any]]:
    """All that are there."""
    params: dict[str, Any] = {"limit": 200}
    while True:
        page = insisted(server, "GET", "", params=params).json()
        yield from page["jobs"]
        if page["next_cursor"] is None:
            return
        params["cursor"] = page["next_cursor"]


def settled(server: Server) -> list[dict[str, Any]]:
    """All documents, when all are at their end, and what was deleted is purged."""
    until = time.monotonic() + 120
    with psycopg.connect(server.database, autocommit=True) as conn:
        while waiting := conn.execute("SELECT topic, job_id, tries, crashes, history FROM messages").fetchall():
            assert time.monotonic() < until, waiting
            time.sleep(0.1)
    found = list(documents(server))
    busy = [job for job in found if job["status"] not in invariants.FINISHED]
    while busy and time.monotonic() < until:  # the index acknowledges the last
        time.sleep(0.1)
        found = list(documents(server))
        busy = [job for job in found if job["status"] not in invariants.FINISHED]
    assert not busy, busy
    return found


def lies_in(server: Server, job_id: str) -> dict[str, dict[str, Any]]:
    """The documents in a document, by path, and those in these."""
    found: dict[str, dict[str, Any]] = {}
    for child in insisted(server, "GET", f"/{job_id}/children").json()["children"]:
        assert child["job"] and child["problem"] is None, child
        found[child["path"]] = child["job"]
        if child["path"] == "deep.zip":
            found |= lies_in(server, child["job"]["job_id"])
    return found


def test_archives_are_as_last_sent_whatever_dies(start_server: Callable[..., Server]) -> None:
    server = start_server()
    chaos = Chaos(server)
    for number in (1, 2):
        body = archive({"anchor": number, "beacon": 1, "keel": number})
        chaos.archives.append(str(server.upload(f"harbour{number}.zip", body)["job_id"]))
    chaos.run(chaos.change, chaos.change, chaos.meddle, chaos.meddle, chaos.come_and_go, chaos.kill)
    assert not chaos.errors, chaos.errors
    last = (
        {"anchor": 1, "beacon": 7, "ensign": 2, "keel": 3, "mast": 8},
        {"anchor": 1, "fender": 4, "keel": 2, "mast": 9},
    )
    for job, files in zip(chaos.archives, last, strict=True):
        answer = insisted(server, "PUT", f"/{job}", files={"file": ("harbour.zip", archive(files))})
        assert answer.status_code == 202, answer.text
    settled(server)
    for job in chaos.archives:  # what somebody stopped a moment ago begins again
        insisted(server, "POST", f"/{job}/retry")
    found = settled(server)
    in_archives: set[str] = set()
    for job, files in zip(chaos.archives, last, strict=True):
        inside = lies_in(server, job)
        assert set(inside) == {f"{name}.txt" for name in files} | {"deep.zip"}, chaos.killed
        in_archives |= {child["job_id"] for child in inside.values()}
    check(server, found, in_archives | {*chaos.archives}, chaos)
    asyncio.run(sweep(server, server.database))
    assert_no_stale_links(server)
    findings = server.http.get("/api/v2/doctor", params={"deep": True}).raise_for_status().json()["findings"]
    assert not [found for found in findings if found["level"] == "error"], findings
    invariants.assert_stores_agree(server, f"after killing {chaos.killed}")


def check(server: Server, found: list[dict[str, Any]], expected: set[str], chaos: Chaos) -> None:
    """What should be there is found by its words, and nothing else is there but what somebody uploaded by itself."""
    ids = {job["job_id"] for job in found}
    assert expected <= ids, chaos.killed
    strangers = ids - expected - chaos.mine
    assert not strangers, [job for job in found if job["job_id"] in strangers]
    wrong = [job for job in found if job["job_id"] in expected and job["status"] != "completed"]
    assert not wrong, wrong
    for name in NAMES + DEEP:
        for edition in range(1, 10):
            asked = {"question": f"{name}{edition}", "mode": "keyword", "answer": False, "top_k": 20}
            answer = server.http.post("/api/v2/query", json=asked).raise_for_status().json()
            cited = [c for c in answer["citations"] if f"{name}{edition}." in c["text"]]
            assert {c["job_id"] for c in cited} <= ids, "what is cited is there"
            assert len(cited) <= 1, cited


def assert_no_stale_links(server: Server) -> None:
    with psycopg.connect(server.database) as conn:
        left = conn.execute(
            "SELECT p.job_id FROM document_children c JOIN document_jobs p ON p.job_id = c.parent_id"
            " WHERE p.purged_at IS NOT NULL OR p.next IS NULL AND c.version <> p.version"
        ).fetchall()
    assert not left, "links of what is gone"
