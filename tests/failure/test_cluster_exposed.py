"""The distributed system, while what it stands on moves, lags, lies or repeats itself, and real documents go in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from benchmarks.harness import DATA, Server, small_documents
from tests import exposed
from tests.exposed import Exposed
from tests.failure import cluster_faults, invariants
from tests.failure.cluster_faults import Fault, patiently
from tests.failure.test_chaos import real_documents, upload_until_accepted, wait_patiently
from tests.failure.test_cluster import until_whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Documents that are in when a fault begins.
FIRST = 8
File = tuple[str, bytes]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Exposed]:
    """One for all faults: each leaves it whole."""
    async with exposed.running(
        worker_timeout_seconds=cluster_faults.WORKER_TIMEOUT, kafka_poll_seconds=cluster_faults.KAFKA_POLL,
        sweep_grace_seconds=5, s3_timeout_seconds=5,
    ) as running:  # fmt: skip
        yield running


@pytest.fixture(scope="module")
def files() -> Iterator[File]:
    """Files without end, so to speak, no two alike: of five four are small texts and one is anything."""
    if not DATA.is_dir():
        pytest.skip(f"the real documents are not at {DATA} (set DATADISTILLER_DATA)")
    texts, others = iter(small_documents(2000)[100:]), iter(real_documents())
    return (next(others, None) or next(texts) if n % 5 == 4 else next(texts) for n in range(1900))


class Uploads:
    """Uploads one file after another until it is stopped; keeps what was accepted."""

    def __init__(self, server: Server, files: Iterator[File]) -> None:
        self.accepted: dict[str, str] = {}
        self.count = 0
        self._server = server
        self._files = files
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            upload_until_accepted(self._server, [next(self._files)], self.accepted)
            self.count += 1
            time.sleep(0.1)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(240)
        assert not self._thread.is_alive(), "uploads hang"


@pytest.mark.parametrize("fault", cluster_faults.FAULTS, ids=lambda fault: fault.__name__)
async def test_nothing_is_lost_or_doubled(cluster: Exposed, files: Iterator[File], fault: Fault) -> None:
    uploads = Uploads(cluster, files)
    try:
        await patiently(lambda: len(uploads.accepted) >= FIRST)
        await fault(cluster)
        before = len(uploads.accepted)
        await patiently(lambda: len(uploads.accepted) >= before + FIRST)
    finally:
        await asyncio.to_thread(uploads.stop)
    try:
        states = await asyncio.to_thread(wait_patiently, cluster, list(uploads.accepted))
    except AssertionError as hangs:
        pytest.fail(f"{str(hangs).splitlines()[0][:200]}\n{cluster.last_words()}", pytrace=False)
    assert sum(state["status"] == "completed" for state in states.values()) > 0.7 * uploads.count
    await until_whole(cluster)


async def test_what_a_standby_never_had_is_gone_everywhere(cluster: Exposed, files: Iterator[File]) -> None:
    """Replication that commits do not wait for loses the last of them. Then nothing of them may be left anywhere."""
    uploads = Uploads(cluster, files)
    try:
        await patiently(lambda: len(uploads.accepted) >= FIRST)
        kept = dict(uploads.accepted)
        await cluster.pair.separate()
        await patiently(lambda: len(uploads.accepted) >= len(kept) + FIRST)
        lost = list(uploads.accepted)[-1]
        await patiently(lambda: cluster.status(lost)["status"] in invariants.FINISHED)
        await cluster.pair.fail_over()
        await patiently(lambda: unknown(cluster, lost))
    finally:
        await asyncio.to_thread(uploads.stop)
    left = [job for job in uploads.accepted if not unknown(cluster, job)]
    assert kept.keys() <= set(left)
    await asyncio.to_thread(wait_patiently, cluster, left)
    await until_whole(cluster)


def unknown(cluster: Exposed, job: str) -> bool:
    """True if the cluster has never heard of a document; asked until it answers."""
    return answered(cluster, f"/api/v2/documents/status/{job}").status_code == 404


def answered(cluster: Exposed, path: str) -> httpx.Response:
    """What the cluster says once it can."""
    end = time.monotonic() + 240
    while (answer := cluster.http.get(path)).status_code >= 500:
        assert time.monotonic() < end, answer.text
        time.sleep(0.1)
    return answer
