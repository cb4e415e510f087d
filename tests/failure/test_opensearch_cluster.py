"""An OpenSearch of two nodes with a replica: found on every node, and the loss of one of them costs nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from datadistiller.indexing.opensearch import OpenSearchIndex
from datadistiller.indexing.opensearch_client import Access
from datadistiller.indexing.opensearch_layout import Content, Shape
from datadistiller.store.database import Database
from tests import services
from tests.contracts.opensearch_kit import call
from tests.failure.world import DIM, World, until
from tools.services import ports
from tools.services.opensearch import OpenSearchServer

pytestmark = pytest.mark.parametrize("postgres_url", ["wheel"], indirect=True)


class Cluster:
    """Two nodes; the first one governs, so the second one may be lost."""

    def __init__(self) -> None:
        self._ports = [ports.free(("client", "transport")) for _ in range(2)]

    def node(self, number: int, folder: Path) -> OpenSearchServer:
        """One node."""
        settings = {
            "node.name": f"node-{number}",
            "node.roles": "[cluster_manager, data]" if number == 0 else "[data]",
            "discovery.type": "zen",
            "discovery.seed_hosts": "[" + ", ".join(f"127.0.0.1:{each['transport']}" for each in self._ports) + "]",
            "cluster.initial_cluster_manager_nodes": "[node-0]",
        }
        return OpenSearchServer(folder, self._ports[number], settings, heap="384m")


@pytest.fixture
async def nodes() -> AsyncIterator[list[OpenSearchServer]]:
    cluster = Cluster()
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(services.own(lambda folder, number=number: cluster.node(number, folder)))  # type: ignore[misc]
            for number in range(2)
        ]


async def test_every_copy_shows_what_is_completed(database: Database, nodes: list[OpenSearchServer]) -> None:
    access = Access([node.url for node in nodes], f"test-{uuid4().hex[:8]}")
    shape = Shape(shards=2, replicas=1)
    world = World(database, lambda: OpenSearchIndex(access, Content("test", DIM, "me"), shape))
    alias = f"{access.prefix}-*"
    async with world.following():
        await until(lambda: _health(nodes[0], alias, "green"))
        for turn in range(8):
            job = await _written(world, *(f"turn{turn} apples {n}" for n in range(6)))
            await world.completed(job)
            for node in nodes:
                for copy in ("_primary", "_replica"):
                    assert await _found(node, alias, copy, f"turn{turn}") == 6
        await nodes[1].kill()
        job = await _written(world, "pears one", "pears two")
        await world.completed(job, seconds=60)
        assert await world.found("apples") == 48 and await world.found("pears") == 2
        await nodes[1].start()
        await until(lambda: _health(nodes[0], alias, "green"), 60)
        job = await _written(world, "plums one", "plums two")
        await world.completed(job)
        assert await _found(nodes[1], alias, "_replica", "plums pears") == 4
        await world.caught_up()
    await world.index.close()


async def _written(world: World, *texts: str) -> UUID:
    job = await world.upload(*texts)
    await world.embed()
    return job


async def _found(node: OpenSearchServer, index: str, copy: str, words: str) -> int:
    """How many chunks one kind of copy finds."""
    body = {"query": {"match": {"text": words}}, "track_total_hits": True}
    path = f"/{index}/_search?preference={copy}&allow_partial_search_results=false"
    return int((await call(node, "POST", path, body))["hits"]["total"]["value"])


async def _health(node: OpenSearchServer, index: str, status: str) -> bool:
    try:
        return bool((await call(node, "GET", f"/_cluster/health/{index}"))["status"] == status)
    except httpx.HTTPError:
        return False
