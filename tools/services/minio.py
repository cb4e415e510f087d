"""MinIO, built from source with Go: an S3 server with its console, in a process of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

import httpx

from tools.services import install, ports, programs
from tools.services.server import Server
from tools.services.signature import Credentials, signed

VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
CLIENT_VERSION = "v0.0.0-20250313080218-cf909e1063a9"  # the one that version depends on: most of it is there then
BUCKET = "datadistiller-docs"
REGION = "us-east-1"
USER = "minioadmin"
PASSWORD = "minioadmin123"


class MinioServer(Server):
    """An S3 server on one folder, with the bucket that DataDistiller uses."""

    name = "minio"
    title = "MinIO"
    port_names: ClassVar[tuple[str, ...]] = ("client", "console")

    def __init__(self, folder: Path, given: dict[str, int] | None = None) -> None:
        super().__init__(folder, given)
        self._program = Path()

    @property
    def url(self) -> str:
        """The S3 endpoint."""
        return f"http://{ports.LOOPBACK}:{self.ports['client']}"

    @property
    def console_url(self) -> str:
        """The console, for people."""
        return f"http://{ports.LOOPBACK}:{self.ports['console']}"

    def environment(self) -> dict[str, str]:
        """The bucket's URL, and how to reach it."""
        return {
            "DATADISTILLER_OBJECTS_URL": f"s3://{BUCKET}",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
        }

    def install(self) -> None:
        """Builds it; that takes some minutes the first time."""
        self._program = install.installed("minio", VERSION, partial(_go_install, f"minio/minio@{VERSION}")) / "minio"

    def prepare(self) -> None:
        """It makes what it needs."""
        self.data.mkdir(exist_ok=True)

    def command(self) -> list[str]:
        """One process."""
        address = f"{ports.LOOPBACK}:{self.ports['client']}"
        console = f"{ports.LOOPBACK}:{self.ports['console']}"
        return [str(self._program), "server", str(self.data), "--address", address, "--console-address", console]

    def variables(self) -> dict[str, str]:
        """The administrator's credentials, and no calls home."""
        return {"MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD, "MINIO_UPDATE": "off"}

    async def ready(self) -> bool:
        """True if it can read and write."""
        try:
            async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
                return (await client.get(f"{self.url}/minio/health/cluster")).is_success
        except httpx.HTTPError:
            return False

    async def finish(self) -> None:
        """The bucket is there."""
        await self.create_bucket(BUCKET)

    async def create_bucket(self, name: str) -> None:
        """Creates a bucket; one that is there is fine."""
        answer = await self.request("PUT", f"/{name}")
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()

    async def request(self, method: str, path: str, content: bytes = b"") -> httpx.Response:
        """A signed S3 request, for what no client library at hand does."""
        headers = signed(method, self.url, path, content, Credentials(USER, PASSWORD, REGION))
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            return await client.request(method, self.url + path, content=content, headers=headers)


def client() -> Path:
    """MinIO's command line client, built the first time in about a minute."""
    return install.installed("mc", CLIENT_VERSION, partial(_go_install, f"minio/mc@{CLIENT_VERSION}")) / "mc"


def _go_install(module: str, part: Path) -> None:
    go = programs.find("go", "MinIO")
    environment = {"GOBIN": str(part), "CGO_ENABLED": "0"}
    programs.run([go, "install", f"github.com/{module}"], part, f"Building {module}", environment)
