"""The whole system on OpenSearch: ``up`` with another index, and what a person sees when its worker is gone."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from uuid import uuid4

import httpx
import psutil

from benchmarks.harness import Server, role_of
from tools.services.opensearch import OpenSearchServer

TEXT = b"# Orchard\n\nThe quince harvest of 1987 began on the ninth of October."


def test_a_document_all_the_way(start_server: Callable[..., Server], opensearch: OpenSearchServer) -> None:
    prefix = f"test-{uuid4().hex[:8]}"
    url = f"{opensearch.url.replace('http', 'opensearch')}/{prefix}"
    server = start_server(index_url=url, opensearch_replicas=0, embed_workers=1)
    try:
        follow_a_document(server)
        survive_without_the_index_worker(server)
    finally:
        server.stop()
        httpx.delete(f"{opensearch.url}/{prefix}-*", trust_env=False)


def follow_a_document(server: Server) -> None:
    """In, found, in a rebuilt index as well, deleted, gone."""
    others = server.upload_all((f"note-{n}.txt", b"Note %d on pruning apple trees." % n) for n in range(5))
    job = str(server.upload("orchard.md", TEXT)["job_id"])
    states = server.wait([*others, job])
    assert {state["status"] for state in states.values()} == {"completed"}
    assert server.query("When did the quince harvest begin?")["citations"][0]["job_id"] == job
    assert server.http.get("/health").json()["workers"]["roles"]["index"] == 1
    assert server.http.post("/api/v2/index/rebuild").status_code == 202
    late = str(server.upload("late.md", TEXT + b" Late pears came in November.")["job_id"])
    server.wait([late])
    assert server.query("When did the quince harvest begin?")["answered"]
    server.http.delete(f"/api/v2/documents/{job}").raise_for_status()
    cited = {found["job_id"] for found in server.query("quince harvest 1987", top_k=20)["citations"]}
    assert job not in cited and late in cited
    wait_for(lambda: "datadistiller_index_ready 1.0" in server.http.get("/metrics").text)


def survive_without_the_index_worker(server: Server) -> None:
    """It is stopped, not killed: ``up`` would start it again at once."""
    [worker] = [process for process in server.tree() if role_of(process) == "index"]
    worker.suspend()
    try:
        job = str(server.upload("more.md", b"Medlars are picked after the first frost.")["job_id"])
        wait_for(lambda: server.status(job)["status"] == "embedding")
        wait_for(lambda: "index" in server.http.get("/health").json()["down"])
        health = server.http.get("/health").json()
        assert "jobs wait in 'embedding'" in health["index"]["detail"] and health["index"]["lag"] >= 1
        assert server.http.get("/readyz").status_code == 200
        assert server.query("quince harvest")["answered"]
        doctor = cli(server, "doctor")
        assert doctor.returncode == 1 and "No index worker is alive" in " ".join(doctor.stdout.split())
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.resume()
    assert server.wait([job])[job]["status"] == "completed"
    wait_for(lambda: server.http.get("/health").status_code == 200)
    doctor = cli(server, "doctor")
    assert doctor.returncode == 0, doctor.stdout


def cli(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "datadistiller", *arguments, "--url", server.url]
    return subprocess.run(command, env=server.env | {"COLUMNS": "200"}, capture_output=True, text=True, check=False)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until it holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)
