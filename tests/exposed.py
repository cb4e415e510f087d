"""A cluster whose surroundings a test can break: two databases, proxies before MinIO and OpenSearch, a far host."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests import cluster as clusters
from tests import far_host
from tests.cluster import Cluster, Services
from tests.far_host import FarHost
from tests.proxy import Proxy
from tools.services import ports
from tools.services.programs import ServiceError
from tools.services.standby import PostgresPair

PROCESSES = ("api", "relay,reaper", "index", "ingest", "embed", "embed")
#: Of the far host's processes. The worker over there believes in itself for a minute: it does not end when its leases
#: have gone to others, as a worker with a frozen or a wrong clock would not.
FAR = {"embed-far": {"DATADISTILLER_WORKER_TIMEOUT_SECONDS": "60"}, "index-far": {}}
_HEALTH_PORT = "9100"  # nobody else is on that host


class Exposed(Cluster):
    """``far`` is None, and ``why_not`` says why, where the account may not make network namespaces."""

    def __init__(
        self, folder: Path, parts: Services, pair: PostgresPair, far: FarHost | None, why_not: str, **settings: object
    ) -> None:
        super().__init__(folder, parts, PROCESSES, **settings)
        self.pair = pair
        self.objects = Proxy(parts.minio.ports["client"])
        self.index = Proxy(parts.opensearch.ports["client"])
        self._far = far
        self._why_not = why_not
        self.env |= {
            "AWS_ENDPOINT_URL": self.objects.url,
            "DATADISTILLER_INDEX_URL": f"opensearch://{ports.LOOPBACK}:{self.index.port}",
        }

    @property
    def far(self) -> FarHost:
        """The other host; skips the test if there is none."""
        if self._far is None:
            pytest.skip(self._why_not)
        return self._far

    @property
    def far_metrics(self) -> str:
        """Where the far worker tells its metrics."""
        return f"http://{self.far.address}:{_HEALTH_PORT}/metrics"

    def start(self) -> float:
        """Starts every process, the far ones too."""
        if self._far is not None:
            self.folder.mkdir(exist_ok=True)
            for name in FAR:
                self.launch(name)
        return super().start()

    def stop(self) -> None:
        """Stops the proxies when nobody needs them any more."""
        super().stop()
        self.objects.stop()
        self.index.stop()

    def command(self, name: str) -> list[str]:
        """Far processes are started over there."""
        argv = super().command(name)
        return self._far.command(*argv) if self._far is not None and name in FAR else argv

    def environment(self, name: str) -> dict[str, str]:
        """The far worker can be asked what it did."""
        found = super().environment(name) | FAR.get(name, {})
        if self._far is not None and name == "embed-far":
            found |= {"DATADISTILLER_HEALTH_HOST": self._far.address, "DATADISTILLER_HEALTH_PORT": _HEALTH_PORT}
        return found


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[Exposed]:
    """A whole fresh cluster, with services and a far host of its own."""
    async with AsyncExitStack() as stack:
        far, why_not = None, ""
        try:
            far = stack.enter_context(far_host.connected())
        except ServiceError as error:
            if os.environ.get("CI"):
                raise
            why_not = str(error)
        parts = await stack.enter_async_context(clusters.services_of(PostgresPair))
        assert isinstance(parts.postgres, PostgresPair)
        scratch = stack.enter_context(clusters.scratch())
        cluster = Exposed(scratch / "data", parts, parts.postgres, far, why_not, **settings)
        async with clusters.started(cluster):
            yield cluster
