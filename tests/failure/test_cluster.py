"""The distributed system, with real servers that die, stall and lose their disks while real documents go in."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import httpx
import psycopg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from benchmarks.harness import DATA, small_documents
from datadistiller import objects
from datadistiller.settings import Settings
from datadistiller.wiring import adapters
from tests import cluster as clusters
from tests.cluster import Cluster
from tests.failure import invariants
from tests.failure.test_chaos import real_documents, upload_until_accepted, wait_patiently
from tools.services import minio

SEED = 20261125
DOCUMENTS = 30


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """One for all tests of this module: each leaves it whole."""
    async with clusters.running(sweep_grace_seconds=5, s3_timeout_seconds=10) as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


def command(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "datadistiller", *words]
    return subprocess.run(
        argv, env={**cluster.env, "DATADISTILLER_URL": cluster.url}, capture_output=True, text=True, check=False
    )


async def test_a_document_goes_the_whole_way(cluster: Cluster) -> None:
    done = await asyncio.to_thread(command, cluster, "verify")
    assert done.returncode == 0, done.stdout + done.stderr


async def test_doctor_finds_nothing_wrong(cluster: Cluster) -> None:
    done = await asyncio.to_thread(command, cluster, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr


async def broker_killed(cluster: Cluster) -> None:
    await cluster.services.kafka.kill()
    await asyncio.sleep(2)
    await cluster.services.kafka.start()


async def broker_wiped(cluster: Cluster) -> None:
    await cluster.services.kafka.wipe()
    await cluster.services.kafka.start()


async def topic_deleted(cluster: Cluster) -> None:
    await cluster.services.kafka.tool("kafka-topics", "--delete", "--topic", "chunk-processing")


async def database_restarted(cluster: Cluster) -> None:
    await cluster.services.postgres.kill()
    await asyncio.sleep(2)
    await cluster.services.postgres.start()


async def objects_away(cluster: Cluster) -> None:
    await cluster.services.minio.kill()
    await asyncio.sleep(8)
    await cluster.services.minio.start()


async def index_restarted(cluster: Cluster) -> None:
    await cluster.services.opensearch.kill()
    await cluster.services.opensearch.start()


async def index_deleted(cluster: Cluster) -> None:
    async with httpx.AsyncClient(base_url=cluster.services.opensearch.url, timeout=60) as http:
        for index in (await http.get("/_cat/indices/datadistiller-*?format=json")).json():
            (await http.delete(f"/{index['index']}")).raise_for_status()


async def worker_frozen(cluster: Cluster) -> None:
    frozen = cluster.processes[cluster.of_role("embed")[0]]
    frozen.send_signal(signal.SIGSTOP)
    await asyncio.sleep(12)  # longer than its heartbeat may be silent
    frozen.send_signal(signal.SIGCONT)


async def processes_killed(cluster: Cluster) -> None:
    chance = random.Random(SEED)
    for _ in range(8):
        chance.choice(list(cluster.processes.values())).kill()
        await asyncio.sleep(chance.uniform(0.2, 2))


FAULTS: list[Callable[[Cluster], Awaitable[None]]] = [
    broker_killed, broker_wiped, topic_deleted, database_restarted, objects_away, index_restarted, index_deleted,
    worker_frozen, processes_killed,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_nothing_is_lost_or_doubled(cluster: Cluster, fault: Callable[[Cluster], Awaitable[None]]) -> None:
    if not DATA.is_dir():
        pytest.skip(f"the real documents are not at {DATA} (set DATADISTILLER_DATA)")
    at = FAULTS.index(fault)
    texts = small_documents(DOCUMENTS * (at + 1))[DOCUMENTS * at :]
    files = texts + real_documents()[12 * at : 12 * (at + 1)]
    accepted: dict[str, str] = {}
    uploads = threading.Thread(target=upload_until_accepted, args=(cluster, files, accepted))
    uploads.start()
    await asyncio.sleep(1.5)
    await fault(cluster)
    await asyncio.to_thread(uploads.join, 240)
    assert not uploads.is_alive(), "uploads hang"
    try:
        states = await asyncio.to_thread(wait_patiently, cluster, list(accepted))
    except AssertionError as hangs:
        pytest.fail(f"{str(hangs).splitlines()[0][:200]}\n{cluster.last_words()}", pytrace=False)
    assert sum(state["status"] == "completed" for state in states.values()) > 0.7 * len(files)
    await until_whole(cluster)


async def until_whole(cluster: Cluster) -> None:
    """Waits until PostgreSQL, the bucket and the index hold exactly the same documents, whatever is still swept."""
    differences = ["not compared"]
    end = time.monotonic() + 90
    while differences and time.monotonic() < end:
        await asyncio.sleep(1)
        differences = await compared(cluster)
    assert not differences


async def compared(cluster: Cluster) -> list[str]:
    """Every difference, in words."""
    with psycopg.connect(cluster.services.postgres.url) as conn:
        found = invariants.broken(conn)
        live = invariants.live_chunks(conn)
        known = invariants.objects_known(conn)
    held = await index_contents(cluster)
    if held != live:
        found.append(f"the index holds {len(held)} chunks and not {len(live)}")
    stored = await objects_stored(cluster)
    if stored != known:
        found.append(f"{len(stored - known)} objects too many, {len(known - stored)} too few")
    return found


async def index_contents(cluster: Cluster) -> dict[int, UUID]:
    """Every chunk that a search may find, read from OpenSearch itself."""
    held: dict[int, UUID] = {}
    async with httpx.AsyncClient(base_url=cluster.services.opensearch.url, timeout=60) as http:
        last = -1
        while True:
            body = {"size": 5000, "query": {"range": {"chunk_no": {"gt": last}}}, "sort": ["chunk_no"],
                    "_source": False, "docvalue_fields": ["chunk_no", "chunk_id"]}  # fmt: skip
            answer = await http.post("/datadistiller-*/_search", params={"ignore_unavailable": "true"}, json=body)
            hits = answer.json()["hits"]["hits"] if answer.status_code == 200 else []
            if not hits:
                return held
            for hit in hits:
                last = int(hit["fields"]["chunk_no"][0])
                held[last] = UUID(hit["fields"]["chunk_id"][0])


async def objects_stored(cluster: Cluster) -> set[str]:
    """The keys in the bucket, read through the port."""
    settings = Settings(
        objects_url=f"s3://{minio.BUCKET}",
        s3_endpoint=cluster.services.minio.url,
        s3_access_key=minio.USER,
        s3_secret_key=SecretStr(minio.PASSWORD),
        s3_region=minio.REGION,
    )
    async with adapters.open_objects(settings) as store:
        return {found.key async for found in store.list(objects.UPLOADS)}
