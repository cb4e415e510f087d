"""What uploads and new versions have in common: their bytes go into the object store, measured on the way."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from datadistiller import errors, model, objects
from datadistiller.parsing import sniff

#: What the type of a file is told from.
HEAD_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class File:
    """A file that is in the store."""

    media_type: str
    size: int  # bytes
    sha256: str  # hexadecimal


async def receive(
    store: objects.ObjectStore, key: str, filename: str, body: AsyncIterator[bytes], max_bytes: int
) -> File:
    """Stores a file under the key; nothing is left of one that is refused. ``body`` yields no empty chunk.

    Raises FileEmpty, TypeNotSupported, FileTooLarge, CapacityError, Unavailable.
    """
    head = await _read_head(body)
    media_type = _media_type(head[:HEAD_BYTES], filename)
    digest = hashlib.sha256()
    size = await store.put(key, _measured(filename, head, body, digest.update, max_bytes))
    return File(media_type, size, digest.hexdigest())


async def keep(store: objects.ObjectStore, key: str, file: File, job: model.Job) -> None:
    """Leaves the object under the key if the job refers to it; if not, it is a spare for one that may be lost."""
    known: list[model.Job | model.NextVersion] = [job, *([job.next] if job.next else [])]
    if any(version.object_key == key for version in known):
        return
    same = next((version.object_key for version in known if version.sha256 == file.sha256), None)
    if same is None:
        await store.delete(key)
    else:
        await store.replace_missing(same, spare=key)


async def _measured(
    filename: str, head: bytes, rest: AsyncIterator[bytes], update: Callable[[bytes], None], max_bytes: int
) -> AsyncIterator[bytes]:
    """The whole body, hashed on the way, until it is too large."""
    size, chunk = 0, head
    while chunk:
        size += len(chunk)
        if size > max_bytes:
            raise errors.FileTooLarge(f"'{filename}' is larger than the limit of {max_bytes} bytes.")
        update(chunk)
        yield chunk
        chunk = await anext(rest, b"")


async def _read_head(body: AsyncIterator[bytes]) -> bytes:
    head = bytearray()
    while len(head) < HEAD_BYTES and (chunk := await anext(body, b"")):
        head += chunk
    return bytes(head)


def _media_type(head: bytes, filename: str) -> str:
    if not head:
        raise errors.FileEmpty(f"'{filename}' is empty (0 bytes).")
    try:
        return sniff.sniff(head, filename)
    except errors.EmptyDocument as error:
        raise errors.FileEmpty(error.message, hint=error.hint) from error
    except errors.UnreadableDocument as error:
        raise errors.TypeNotSupported(error.message, hint=error.hint) from error
