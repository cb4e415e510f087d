"""Backup and restore as the guide tells it: its own commands, into services that are empty, with work under way."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from benchmarks.harness import DATA, small_documents
from datadistiller.store import embedded
from tests import cluster as clusters
from tests import services
from tests.cluster import Cluster
from tools.services import minio

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "cluster.md"
DONE, EMBEDDING, PENDING = 8, 3, 2
SETTINGS = {"sweep_grace_seconds": 5, "worker_timeout_seconds": 5}


def commands(begin: str) -> list[str]:
    """The blocks of commands of the guide from this bold word to the next one or the next heading."""
    page = GUIDE.read_text(encoding="utf-8")
    section = re.split(r"\n(?=\*\*|#)", page[page.index(f"**{begin}**") :])[0]
    return re.findall(r"^ *```bash\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Operator:
    """A person with the guide, a shell and a folder for the backup."""

    cluster: Cluster
    folder: Path

    def run(self, script: str) -> None:
        """One block; a command that fails ends it."""
        host = self.cluster.services.minio.url.replace("//", f"//{minio.USER}:{minio.PASSWORD}@")
        programs = (embedded.bundled_binaries(), minio.client().parent, Path(sys.executable).parent)
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        more = {"MC_HOST_store": host, "MC_CONFIG_DIR": str(self.folder / "mc"), "PATH": path,
                "DATADISTILLER_URL": self.cluster.url}  # fmt: skip
        done = subprocess.run(
            ["bash", "-euc", script], cwd=self.folder, env=self.cluster.env | more, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


def send(cluster: Cluster, roles: str, number: signal.Signals) -> None:
    for name in cluster.of_role(roles):
        cluster.processes[name].send_signal(number)


def reach(cluster: Cluster, jobs: Iterable[str], status: str) -> None:
    end = time.monotonic() + 120
    for job in jobs:
        while cluster.status(job)["status"] != status:
            assert time.monotonic() < end, f"{cluster.status(job)} and not {status}"
            time.sleep(0.1)


def documents(cluster: Cluster) -> dict[str, tuple[Any, ...]]:
    """Every document, with what does not change when it is only moved."""
    listed = cluster.http.get("/api/v2/documents", params={"limit": 200}).raise_for_status().json()["jobs"]
    return {job["job_id"]: (job["filename"], job["status"], job["total_chunks"], job["sha256"]) for job in listed}


def answers(cluster: Cluster, texts: list[bytes]) -> list[Any]:
    """What is found for the first words of each document, in every mode: the passages in order, and the answer.

    Asked on an index that was built anew: BM25 counts copies that were replaced, of which no two indexes have the same.
    """
    rebuilt(cluster)
    found = []
    for text in texts:
        question = " ".join(text.decode().split()[:12])
        for mode in ("hybrid", "vector", "keyword"):
            answer = cluster.query(question, mode=mode, top_k=10)
            passages = [(hit["chunk_id"], round(hit["score"], 3)) for hit in answer["citations"]]
            found.append((question, mode, passages, answer["answer"]))
    return found


def rebuilt(cluster: Cluster) -> None:
    """Has the index built anew; returns when questions go to the new one."""
    with httpx.Client(base_url=cluster.services.opensearch.url, timeout=60) as http:

        def names() -> set[str]:
            listed = http.get("/_cat/indices/datadistiller-*", params={"format": "json"}).raise_for_status().json()
            return {index["index"] for index in listed}

        before, end = names(), time.monotonic() + 120
        cluster.http.post("/api/v2/index/rebuild").raise_for_status()
        while len(now := names()) != 1 or now & before:
            assert time.monotonic() < end, f"{now} after {before}"
            time.sleep(0.1)


def vectors_written(cluster: Cluster) -> tuple[int, int]:
    """Vectors ever inserted and ever changed since this server's disk was new."""
    with psycopg.connect(cluster.services.postgres.url, autocommit=True) as conn:
        row = conn.execute(
            "SELECT n_tup_ins, n_tup_upd FROM pg_stat_user_tables WHERE relname = 'chunk_vectors'"
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def backed_up_at_work(operator: Operator, files: list[tuple[str, bytes]]) -> None:
    """Makes the backup while some documents are searchable, some wait for their vectors, and some to be read."""
    cluster = operator.cluster
    reach(cluster, cluster.upload_all(files[:DONE]), "completed")
    send(cluster, "embed", signal.SIGSTOP)
    reach(cluster, cluster.upload_all(files[DONE : DONE + EMBEDDING]), "embedding")
    send(cluster, "ingest", signal.SIGSTOP)
    cluster.upload_all(files[DONE + EMBEDDING : -1])
    (script,) = commands("Back up")
    database, objects = script.splitlines()
    operator.run(database)
    late = cluster.upload(*files[-1])["job_id"]  # its file is in the copy, and the database does not know it
    operator.run(objects)
    cluster.http.delete(f"/api/v2/documents/{late}").raise_for_status()
    for roles in ("embed", "ingest"):
        send(cluster, roles, signal.SIGCONT)


async def emptied(cluster: Cluster) -> None:
    """New services without anything in them, at the same addresses."""
    parts = (cluster.services.kafka, cluster.services.postgres, cluster.services.minio, cluster.services.opensearch)

    async def anew(part: Any) -> None:
        await part.wipe()
        await part.start()

    await asyncio.gather(*(anew(part) for part in parts))


async def test_what_was_backed_up_is_whole_in_empty_services(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip(f"the real documents are not at {DATA} (set DATADISTILLER_DATA)")
    files = small_documents(DONE + EMBEDDING + PENDING + 1)
    texts = [content for _, content in files[:-1]]
    with services.or_skip():
        await asyncio.to_thread(minio.client)
    async with clusters.running(**SETTINGS) as cluster:
        await asyncio.to_thread(backed_up_at_work, Operator(cluster, tmp_path), files)
        await asyncio.to_thread(reach, cluster, await asyncio.to_thread(documents, cluster), "completed")
        before = documents(cluster), answers(cluster, texts)
        await asyncio.to_thread(cluster.stop)
        await emptied(cluster)
        restored = Cluster(cluster.folder / "restored", cluster.services, **SETTINGS)
        try:
            await asyncio.to_thread(restored_by_the_guide, Operator(restored, tmp_path))
            assert documents(restored) == before[0]
            for was, now in zip(before[1], answers(restored, texts), strict=True):
                assert now == was
        finally:
            await asyncio.to_thread(restored.stop)
            restored.http.close()
        chunks = sum(total for _, _, total, _ in before[0].values())
        # Every connection is closed, so all is counted; the one more is of ``verify``, which has removed it again.
        assert vectors_written(cluster) == (chunks + 1, 0), "something was embedded again"


def restored_by_the_guide(operator: Operator) -> None:
    """Follows it to its end; the documents that were under way finish."""
    cluster = operator.cluster
    stores, compare = commands("Restore")
    operator.run(stores)
    assert len([*(operator.folder / "objects").rglob("*.txt")]) == DONE + EMBEDDING + PENDING + 1
    cluster.start()
    everything = documents(cluster)
    assert len(everything) == DONE + EMBEDDING + PENDING
    reach(cluster, everything, "completed")
    operator.run(compare)
