"""The port of the object store: the uploaded files, under ``uploads/{job_id}/{safe name}``. Adapters are beside it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from datadistiller import errors
from datadistiller.objects.names import UPLOADS, job_prefix, object_key, safe_filename, version_key

__all__ = [
    "UPLOADS",
    "ObjectStore",
    "StoredObject",
    "check_key",
    "job_prefix",
    "object_key",
    "safe_filename",
    "version_key",
]

_KEY = re.compile(r"(?!\.\.?(/|$))[^/\0]+(/(?!\.\.?(/|$))[^/\0]+)*")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing shows it. ``modified`` is aware (UTC)."""

    key: str
    size: int  # bytes
    modified: datetime


class ObjectStore(Protocol):
    """Objects under keys, which are relative paths with ``/``.

    A put is atomic and safe (on disk, or acknowledged by the server) when it returns. One that fails or is
    cancelled leaves nothing behind that is seen under its key, or only what the sweeper takes away: a server that
    does not answer may have done what it was asked. A store that does not answer raises ``errors.Unavailable``, a
    full one ``errors.CapacityError``, an absent object ``errors.ObjectMissing``.
    """

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Stores the bytes under the key and returns how many. What ``chunks`` raises passes through unchanged."""
        ...

    def get(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes ``[start, end)`` of the object, in pieces of about 256 KiB; ``end`` None is to its end."""
        ...

    async def size(self, key: str) -> int:
        """Bytes of the object."""
        ...

    def local_path(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The object as a file to read: the stored file itself (never write to it), or a temporary copy."""
        ...

    async def link(self, key: str, seconds: int, media_type: str, disposition: str) -> str | None:
        """A URL that gives the object, with these headers, to whoever has it, for so long; None: there is no such."""
        ...

    async def delete(self, key: str) -> None:
        """Removes one object; one that is not there is a success."""
        ...

    async def delete_prefix(self, prefix: str) -> int:
        """Removes all objects whose key starts with the prefix (a folder, ending in ``/``); returns how many.

        Nothing there is a success.
        """
        ...

    async def replace_missing(self, key: str, spare: str) -> None:
        """Gives the object ``key`` the bytes of ``spare`` if it is not there (lost by somebody); ``spare`` goes."""
        ...

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """All objects under the prefix (a folder), in no order; unfinished uploads too if they take up a key."""
        ...

    async def abort_unfinished(self, before: datetime) -> int:
        """Gives up what was begun before that time, never finished, and is in no listing; returns how many."""
        ...

    async def free_bytes(self) -> int | None:
        """Free disk space in bytes; None where the store has no such limit."""
        ...

    async def check(self) -> None:
        """Raises ``errors.Unavailable`` if the store does not answer or cannot be used."""
        ...

    async def close(self) -> None:
        """Ends its threads; operations in flight finish first."""
        ...


def check_key(key: str) -> None:
    """Raises BrokenInvariant for a key that could lead out of the store."""
    if not _KEY.fullmatch(key):
        raise errors.BrokenInvariant("An object key must be a relative path without '.' and '..'.")
