"""What tests do to an OpenSearch behind the adapter's back."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx

from tools.services.opensearch import OpenSearchServer


async def call(server: OpenSearchServer, method: str, path: str, body: Any = None) -> Any:
    """Any request; its answer whatever it is."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as http:
        return (await http.request(method, path, json=body)).json()


async def lose_shard(server: OpenSearchServer, index: str) -> Path:
    """Takes the one shard of an index from the disk: the index is red. Returns where ``bring_shard`` finds it."""
    settings = await call(server, "GET", f"/{index}/_settings")
    shard = server.data / "nodes" / "0" / "indices" / str(settings[index]["settings"]["index"]["uuid"]) / "0"
    await call(server, "POST", f"/{index}/_close")
    away = shard.with_name("away")
    await asyncio.to_thread(shard.rename, away)
    await call(server, "POST", f"/{index}/_open?wait_for_active_shards=0")
    assert (await call(server, "GET", f"/_cluster/health/{index}"))["status"] == "red"
    return away


async def bring_shard(server: OpenSearchServer, away: Path) -> None:
    """Its node comes back with it."""
    await server.kill()
    await asyncio.to_thread(shutil.rmtree, away.with_name("0"), ignore_errors=True)
    await asyncio.to_thread(away.rename, away.with_name("0"))
    await server.start()
