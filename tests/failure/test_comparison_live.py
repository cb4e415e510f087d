"""The complete comparison of a system at work: nothing is called a difference that is only on its way."""

from __future__ import annotations

import threading

import httpx

from benchmarks.harness import Server

DOCUMENTS = 80


def work(server: Server) -> None:
    """Uploads documents without a pause; cancels, retries and deletes some of them in the middle."""
    with httpx.Client(base_url=server.url, timeout=60) as http:
        jobs: list[str] = []
        for n in range(DOCUMENTS):
            text = "\n\n".join(f"Note {n}.{k}: the harbour master of Port {n} keeps bell {k}." * 5 for k in range(12))
            jobs.append(http.post("/api/v2/documents/upload", files={"file": (f"{n}.txt", text)}).json()["job_id"])
            if n % 5 == 4:
                http.post(f"/api/v2/documents/{jobs[-1]}/cancel")
                http.post(f"/api/v2/documents/{jobs[-1]}/retry")
            if n % 3 == 2:
                http.delete(f"/api/v2/documents/{jobs.pop(0)}")


def test_a_system_at_work_agrees_with_itself(server: Server) -> None:
    worker = threading.Thread(target=work, args=(server,))
    worker.start()
    compared = 0
    while worker.is_alive() or compared == 0:
        answer = server.http.get("/api/v2/doctor", params={"deep": True}, timeout=120)
        first, *_ = answer.raise_for_status().json()["findings"]
        assert (first["level"], first["part"]) == ("ok", "comparison"), first
        compared += 1
    worker.join()
    jobs = server.http.get("/api/v2/documents", params={"limit": 200}).json()["jobs"]
    assert len(jobs) == DOCUMENTS - DOCUMENTS // 3
