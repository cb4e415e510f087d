"""Documents with others in them, worked on by the real stages in this process."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from datadistiller import messages, model
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.runtime.sandbox import Limits as ParserLimits
from datadistiller.runtime.sandbox import Sandbox
from datadistiller.stages.attachments import Intake, IntakeLimits
from datadistiller.stages.ingest import Ingest
from datadistiller.stages.remove import Remove
from datadistiller.store.children import Family
from tests.acceptance import api_parts

MOST = IntakeLimits(members=100, bytes=1 << 20, nesting=3)


def packed(files: Mapping[str, bytes]) -> bytes:
    """A ZIP archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return made.getvalue()


class Workers:
    """The workers of all stages; each call does what is due."""

    def __init__(self, parts: Any, sandbox: Sandbox, limits: IntakeLimits = MOST) -> None:
        self.parts = parts
        self.limits = limits
        family = Family(parts.database)

        async def intake(job: model.Job) -> Intake:
            return Intake(parts.objects, family, job, await family.spent(job), self.limits)

        self.ingest = Ingest(parts.objects, parts.jobs, sandbox, Chunker(WordpieceTokenizer(), 200), intake)

    async def work(self) -> None:
        """Until nothing is due."""
        while await self.read() or await self.embed() or await self.remove():
            pass

    async def read(self) -> bool:
        """One round of the ingest stage; False if nothing was due."""
        waiting = await api_parts.claim(self.parts, messages.INGEST_TOPIC)
        for delivery in waiting:
            await api_parts.settle(self.parts, *await self.ingest([delivery]))
        return bool(waiting)

    async def embed(self) -> bool:
        """The same for vectors."""
        waiting = await api_parts.claim(self.parts, messages.CHUNK_TOPIC)
        texts = await self.parts.chunks.texts([d.chunk_id for d in waiting], self.parts.model_id)
        for delivery in waiting:
            vector = self.parts.embedder.embed([texts[delivery.chunk_id].text])[0].astype(np.float16)
            await api_parts.settle(self.parts, messages.Done(delivery, messages.Embedded(vector)))
        return bool(waiting)

    async def remove(self) -> bool:
        """The same for what was deleted."""
        waiting = await api_parts.claim(self.parts, messages.REMOVE_TOPIC)
        await api_parts.settle(self.parts, *await Remove(self.parts.objects)(waiting))
        return bool(waiting)


@asynccontextmanager
async def workers(parts: Any) -> AsyncIterator[Workers]:
    """Workers with a parser process."""
    sandbox = Sandbox(ParserLimits(), concurrency=1)
    try:
        yield Workers(parts, sandbox)
    finally:
        await sandbox.close()
