"""Turns the texts of chunks into vectors. Reads chunk ids, gives one ``Embedded`` per chunk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from datadistiller import embedding, errors
from datadistiller.messages import Delivery, Done, Embedded, Failed, Outcome


class Texts(Protocol):
    """Where the texts of chunks are."""

    async def texts(self, chunk_ids: Sequence[UUID]) -> dict[UUID, str]:
        """What is embedded of each chunk; chunks that are gone are left out."""
        ...


class Embed:
    """Embeds one batch at a time, in a thread: meanwhile the next batch is claimed and the last one settled.

    A chunk that is gone (its document was deleted or read again) is ``LeaseLost``. If a batch fails in an
    unexpected way its chunks are tried one by one, so that a bad text costs only itself.
    """

    def __init__(self, chunks: Texts, embedder: embedding.Embedder) -> None:
        self._chunks = chunks
        self._embedder = embedder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")

    async def __call__(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """One outcome per delivery. Raises ``errors.Unavailable`` if the texts cannot be read."""
        texts = await self._chunks.texts([d.chunk_id for d in batch if d.chunk_id is not None])
        here = [(d, texts[d.chunk_id]) for d in batch if d.chunk_id is not None and d.chunk_id in texts]
        gone: list[Outcome] = [
            Failed(d, errors.LeaseLost("The chunk is gone.")) for d in batch if d.chunk_id not in texts
        ]
        return gone + (await self._embed_all(here) if here else [])

    def close(self) -> None:
        """Ends the thread; a batch in it is finished first, by the thread alone."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _embed_all(self, here: Sequence[tuple[Delivery, str]]) -> list[Outcome]:
        try:
            vectors = await self._vectors([text for _, text in here])
        except Exception:
            if len(here) == 1:
                raise
            return [await self._embed_alone(delivery, text) for delivery, text in here]
        return [Done(delivery, Embedded(vector)) for (delivery, _), vector in zip(here, vectors, strict=True)]

    async def _embed_alone(self, delivery: Delivery, text: str) -> Outcome:
        try:
            return Done(delivery, Embedded((await self._vectors([text]))[0]))
        except errors.DataDistillerError as error:
            return Failed(delivery, error)
        except Exception as error:
            wrapped = errors.TransientError(f"An unexpected {type(error).__name__} while a chunk was embedded.")
            wrapped.__cause__ = error
            return Failed(delivery, wrapped)

    async def _vectors(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Unit vectors ``float16[len(texts), dim]``, little endian as they are stored."""
        loop = asyncio.get_running_loop()
        vectors = await loop.run_in_executor(self._thread, self._embedder.embed, texts)
        return vectors.astype("<f2")
