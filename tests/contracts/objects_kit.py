"""Object stores for tests, with a look behind them: all that is there, unfinished uploads too."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from datadistiller import objects
from datadistiller.objects.local import LocalObjects
from datadistiller.objects.s3 import S3Objects
from datadistiller.objects.s3_calls import Bucket, Calls
from datadistiller.objects.signature import Credentials
from tools.services.minio import PASSWORD, REGION, USER

CREDENTIALS = Credentials(USER, PASSWORD)


@dataclass(frozen=True)
class Local:
    """A folder."""

    folder: Path

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[objects.ObjectStore]:
        store = LocalObjects(self.folder)
        yield store
        await store.close()

    async def remains(self) -> list[str]:
        """All files, unfinished ones too."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Remote:
    """A bucket of its own."""

    bucket: Bucket

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[objects.ObjectStore]:
        store = S3Objects(self.bucket)
        await store.prepare()
        yield store
        await store.close()

    async def remains(self) -> list[str]:
        """All objects, and unfinished uploads with a question mark."""
        async with self.opened() as store:
            keys = [found.key async for found in store.list("")]
        return sorted([*keys, *(f"{key}?" for key in await asyncio.to_thread(self.unfinished))])

    def unfinished(self) -> list[str]:
        """Keys of unfinished uploads."""
        return sorted(upload.key for upload in Calls(self.bucket, CREDENTIALS).unfinished())


def bucket_at(url: str, **changes: object) -> Bucket:
    """A bucket of its own, which is not there yet."""
    name = f"dd-test-{uuid.uuid4().hex[:12]}"
    bucket = Bucket(name, "", url, url, REGION, CREDENTIALS, seconds=20)
    return replace(bucket, **changes)  # type: ignore[arg-type]


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    """The chunks, one by one."""
    for chunk in chunks:
        yield chunk


async def content(store: objects.ObjectStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    """The bytes of an object."""
    return b"".join([piece async for piece in store.get(key, start, end)])
