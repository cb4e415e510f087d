"""Objects in a bucket of an S3 server: AWS, MinIO, Ceph and others."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import obstore.store
from obstore import exceptions as obstore_errors

from datadistiller import errors
from datadistiller.objects import UPLOADS, check_key
from datadistiller.objects.local import Incoming
from datadistiller.objects.reading import Reading
from datadistiller.objects.s3_calls import Bucket, Calls, Unfinished
from datadistiller.objects.s3_errors import NO_BUCKET, Refused, code_of, setup_error, translated

if TYPE_CHECKING:
    from obstore.store import S3Config


class _Parts(TypedDict):
    chunk_size: int
    max_concurrency: int


#: S3 takes parts of 5 MiB and more, except the last. What fits into one is sent in one request.
PART_BYTES = 5 << 20
#: Two parts in flight: memory for one upload stays under about 15 MB.
_PARTS: _Parts = {"chunk_size": PART_BYTES, "max_concurrency": 2}
#: An object that is never there: asking for it shows whether the bucket is, and whether it may be read.
_PROBE = ".datadistiller"


class S3Objects(Reading):
    """``objects.ObjectStore`` on a bucket. ``prepare`` it before use; a put does it if that was not possible then."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._calls = Calls(bucket, bucket.credentials) if bucket.credentials else None
        self._preparing = asyncio.Lock()
        self._prepared = False
        super().__init__(_opened(bucket))

    def _translated(self, done: str) -> AbstractContextManager[None]:
        return translated(done)

    async def prepare(self) -> None:
        """Makes the bucket if it is not there. Raises SetupError if this can never work, Unavailable if not now."""
        async with self._preparing:
            if self._prepared:
                return
            with translated("reached"):
                try:
                    await self._find_or_make_bucket()
                except (OSError, obstore_errors.BaseError, Refused) as error:
                    hopeless = setup_error(self._bucket.name, error)
                    if hopeless:
                        raise hopeless from error
                    raise
            self._prepared = True

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """A small one in one request; others in parts, given up if the source fails or the put is cancelled."""
        check_key(key)
        try:
            await self.prepare()
        except errors.SetupError as error:
            raise errors.Unavailable(error.message, hint=error.hint) from error
        source = _Source(chunks)
        whole = await source.begin()
        try:
            with translated("written"):
                if whole is not None:
                    await self._carry(key, source, self._store.put_async(key, whole, use_multipart=False))
                else:
                    await self._carry(key, source, self._store.put_async(key, source, use_multipart=True, **_PARTS))
        except BaseException:
            if source.error is not None:
                raise source.error from None  # as it was raised, not as the store reports it
            raise
        return source.size

    @asynccontextmanager
    async def local_path(self, key: str) -> AsyncIterator[Path]:
        """A temporary copy."""
        with tempfile.TemporaryDirectory(prefix="datadistiller-") as scratch:
            path = Path(scratch) / key.rpartition("/")[2]
            copy = Incoming(path, Path(scratch))
            async for piece in self.get(key):
                await self._in_thread(copy.write, piece)
            await self._in_thread(copy.finish)
            yield path

    async def link(self, key: str, seconds: int, media_type: str, disposition: str) -> str | None:
        """Signed with our own key; None if that is one that obstore finds for a role."""
        check_key(key)
        if self._calls is None:
            return None
        return self._calls.link(key, seconds, {"Content-Type": media_type, "Content-Disposition": disposition})

    async def abort_unfinished(self, before: datetime) -> int:
        """Multipart uploads of processes that were killed. Without a key of our own the bucket's rules must do it."""
        if self._calls is None:
            return 0
        with translated("deleted"):
            old = await self._in_thread(_older, self._calls, before)
            for upload in old:
                await self._in_thread(self._calls.abort, upload)
        return len(old)

    async def free_bytes(self) -> int | None:
        """None: a bucket does not say."""
        return None

    async def check(self) -> None:
        """The server answers, and the bucket can be read."""
        with translated("reached"):
            await self._probe()

    async def _find_or_make_bucket(self) -> None:
        try:
            await self._probe()
        except (OSError, obstore_errors.BaseError) as error:
            if code_of(error) not in NO_BUCKET or self._calls is None:
                raise
            await self._in_thread(self._calls.create)

    async def _probe(self) -> None:
        try:
            await self._store.get_async(_PROBE)
        except FileNotFoundError as error:
            if code_of(error) in NO_BUCKET:
                raise

    async def _carry(self, key: str, source: _Source, sending: Awaitable[object]) -> None:
        """Waits for a put. If cancelled it cuts the source, so that obstore gives the upload up in order: one that
        is dropped in the middle stays in the bucket, unfinished."""
        task = asyncio.ensure_future(sending)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            source.cut()
            await asyncio.wait([task], timeout=self._bucket.seconds)
            if not task.done():
                task.cancel()
            elif task.exception() is None:
                with suppress(errors.DataDistillerError):  # then the sweeper does it
                    await self.delete(key)
            raise


class _Source:
    """Passes bytes on to obstore: counts them, remembers what their origin raised, and can be cut from outside."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self.size = 0
        self.error: BaseException | None = None
        self._chunks = chunks
        self._head: list[bytes] = []
        self._taking: asyncio.Task[object] | None = None
        self._is_cut = False

    async def begin(self) -> bytes | None:
        """All of it, if it fits into one part; else None, and it is to be iterated over."""
        while self.size <= PART_BYTES:
            piece = await anext(self._chunks, None)
            if piece is None:
                return b"".join(self._head)
            self._head.append(piece)
            self.size += len(piece)
        return None

    def cut(self) -> None:
        """Ends it with an error, whether it is being read at the moment or not."""
        self._is_cut = True
        if self._taking is not None:
            self._taking.cancel()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._head:
            head = b"".join(self._head)
            self._head.clear()
            return head
        if self._is_cut:
            raise _CutError
        self._taking = asyncio.current_task()
        try:
            piece = await anext(self._chunks)
        except StopAsyncIteration:
            raise
        except asyncio.CancelledError:
            raise _CutError from None
        except BaseException as error:
            self.error = error
            raise
        finally:
            self._taking = None
        self.size += len(piece)
        return piece


class _CutError(Exception):
    """The put was cancelled."""


def _older(calls: Calls, before: datetime) -> list[Unfinished]:
    return [upload for upload in calls.unfinished() if upload.key.startswith(UPLOADS) and upload.begun < before]


def _opened(bucket: Bucket) -> obstore.store.S3Store:
    config: S3Config = {"endpoint": bucket.endpoint, "region": bucket.region}
    if bucket.credentials is not None:
        config["access_key_id"] = bucket.credentials.access_key
        config["secret_access_key"] = bucket.credentials.secret_key
        if bucket.credentials.session_token:
            config["session_token"] = bucket.credentials.session_token
    return obstore.store.S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config=config,
        client_options={
            # Only silence ends a request: a large file to a slow reader may take its time.
            "timeout": timedelta(days=1),
            "read_timeout": timedelta(seconds=bucket.seconds),
            "connect_timeout": timedelta(seconds=min(3.0, bucket.seconds)),
            "allow_http": bucket.endpoint.startswith("http://"),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=bucket.seconds)},
    )
