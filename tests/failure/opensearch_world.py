"""A world whose index is in OpenSearch."""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import UUID, uuid4

import httpx

from datadistiller import errors
from datadistiller.indexing.opensearch import OpenSearchIndex
from datadistiller.indexing.opensearch_client import Access
from datadistiller.indexing.opensearch_layout import Content, Shape
from datadistiller.store.database import Database
from tests.contracts.opensearch_kit import call
from tests.failure.world import DIM, World
from tools.services.opensearch import OpenSearchServer


class ClusterWorld(World):
    """``index`` is the follower's; ``api`` searches as another process does."""

    owner = "me"
    missing_seconds = 3

    def __init__(self, db: Database, server: OpenSearchServer, dim: int = DIM, fingerprint: str = "test") -> None:
        self.server, self.dim, self.fingerprint = server, dim, fingerprint
        self.access = Access([server.url], f"test-{uuid4().hex[:8]}")
        super().__init__(db, self._index)
        self.api = self._index()

    def _index(self) -> OpenSearchIndex:
        content, shape = Content(self.fingerprint, self.dim, self.owner), Shape(replicas=0)
        return OpenSearchIndex(self.access, content, shape, missing_seconds=self.missing_seconds)

    async def found(self, question: str) -> int:
        return len((await self.api.keyword_search(question, 5000)).numbers)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Anything, past the adapter."""
        return await call(self.server, method, path, body)

    async def serving(self) -> str:
        """The index that searches use."""
        [name] = await self.call("GET", f"/_alias/{self.api._names.alias}")
        return str(name)

    async def unavailable(self, search: str = "apples") -> bool:
        """True if a search says that it cannot answer."""
        try:
            await self.api.keyword_search(search, 1)
        except errors.Unavailable:
            return True
        return False

    async def close(self) -> None:
        await self.index.close()
        await self.api.close()
        with contextlib.suppress(httpx.HTTPError):
            await self.call("DELETE", f"/{self.access.prefix}-*")


async def written(world: World, *texts: str) -> UUID:
    """A document that only the index has not got yet."""
    job = await world.upload(*texts)
    await world.embed()
    return job


async def finds(world: World, word: str, count: int) -> bool:
    return await world.found(word) == count
