"""Takes in the files that lie in a document: their bytes go to the object store, to become documents of their own."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from datadistiller import errors, model, objects
from datadistiller.stages.limits import IntakeLimits
from datadistiller.stages.spool import Spool, Storing
from datadistiller.store.children import Family

#: Why a file may be left out without anybody missing it.
_HARMLESS = frozenset({errors.UnsupportedType.code, errors.EmptyDocument.code})


class Intake:
    """``runtime.sandbox_ports.Attachments`` of one reading of one document.

    Each reading stores under job ids of its own, so that two workers that read the same document (one was given up)
    never write the same object. What no settlement takes is deleted here, or by the sweeper.
    """

    def __init__(
        self, store: objects.ObjectStore, family: Family, job: model.Job, spent: tuple[int, int], limits: IntakeLimits
    ) -> None:
        self._deep = job.depth >= limits.nesting
        self.most_members = 0 if self._deep else max(0, limits.members - spent[0])
        self.most_bytes = max(0, limits.bytes - spent[1])
        self.found: list[model.Member] = []
        self._store = store
        self._family = family
        self._job = job
        self._free_bytes = limits.free_bytes
        self._kept = 0
        self._taken: set[str] = set()  # hashes
        self._spool: Spool | None = None
        self._storing = Storing(store)

    async def begin(self, path: str, media_type: str) -> None:
        """See ``runtime.sandbox_ports.Attachments``."""
        self._close()
        self._spool = Spool(path, media_type)

    async def write(self, piece: bytes) -> None:
        """See ``runtime.sandbox_ports.Attachments``. Raises OSError if the disk for temporary files is full."""
        assert self._spool is not None
        await self._spool.write(piece)

    async def end(self, problem: model.Problem | None) -> None:
        """See ``runtime.sandbox_ports.Attachments``. Raises what the object store does."""
        spool = self._spool
        assert spool is not None
        if problem is None and spool.sha256 == self._job.sha256:
            problem = errors.UnsupportedType("It is the file that it lies in.").problem()
        if problem is not None:
            self.refuse(spool.path, spool.size, problem)
        else:
            member = model.Member(spool.path, spool.size, spool.media_type, spool.sha256)
            if member.sha256 not in self._taken and not await self._family.known(self._job.collection, member.sha256):
                member = await self._stored(member, spool)
            self._taken.add(member.sha256)
            self.found.append(member)
        self._close()

    async def finish(self) -> None:
        """Waits until all that was found is safe. Raises what the object store does."""
        await self._storing.finish()

    def refuse(self, path: str, size: int, problem: model.Problem) -> None:
        """See ``runtime.sandbox_ports.Attachments``."""
        if self._deep:
            problem = errors.LimitExceeded(
                "What lies this deep in other files is not taken out (DATADISTILLER_MAX_NESTING).",
                hint="Unpack the upload, and upload what is in it.",
            ).problem()
        self.found.append(model.Member(path, size, problem=problem, missed=problem.code not in _HARMLESS))

    def keep(self) -> None:
        """See ``runtime.sandbox_ports.Attachments``."""
        self._kept = len(self.found)

    async def rewind(self) -> None:
        """See ``runtime.sandbox_ports.Attachments``."""
        await self._drop(self._kept)

    async def discard(self) -> None:
        """Deletes all that was stored: the document was not read after all."""
        with suppress(errors.DataDistillerError):  # the sweeper comes by
            await self._drop(0)

    async def _drop(self, start: int) -> None:
        self._close()
        await (self._storing.finish() if start else self._storing.stop())
        gone = self.found[start:]
        del self.found[start:]
        self._taken = {member.sha256 for member in self.found if member.sha256}
        for member in gone:
            if member.object_key:
                await self._store.delete(member.object_key)

    async def _stored(self, member: model.Member, spool: Spool) -> model.Member:
        free = await self._store.free_bytes()
        if free is not None and free - member.size < self._free_bytes:
            raise errors.CapacityError(
                f"The disk of the object store is nearly full ({free >> 20} MiB free).",
                retry_after=30,
                hint="Free some space there, or lower DATADISTILLER_MIN_FREE_DISK_BYTES.",
            )
        job_id = uuid4()
        key = objects.object_key(job_id, member.filename)
        self._spool = None  # closed when it is stored
        await self._storing.add(key, spool)
        return model.Member(member.path, member.size, member.media_type, member.sha256, job_id, key)

    def _close(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None
