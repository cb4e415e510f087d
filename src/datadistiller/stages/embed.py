"""Turns the texts of chunks into vectors. Reads chunk ids, gives one ``Embedded`` per chunk.

No text is embedded twice: not if a chunk has its vector already, in whatever document, nor within a batch. Batches that
are under way at the same moment do not see each other; what they have in common costs time, not correctness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from datadistiller import embedding, errors
from datadistiller.messages import Delivery, Done, Embedded, Failed, IndexedText, Outcome


class Texts(Protocol):
    """Where the texts of chunks are."""

    async def texts(self, chunk_ids: Sequence[UUID], model_id: int) -> dict[UUID, IndexedText]:
        """What is embedded of each chunk, with the model's vector if it is known; chunks that are gone are left out."""
        ...


#: How vectors were come by, for the hit rate: computed by the model, found in the database, repeated within a batch.
COMPUTED, FOUND, REPEATED = "computed", "found", "repeated"
Count = Callable[[str, int], None]


class Embed:
    """Embeds one batch at a time, in a thread: meanwhile the next batch is claimed and the last one settled.

    A chunk that is gone (its document was deleted or read again) is ``LeaseLost``. If a batch fails in an
    unexpected way its chunks are tried one by one, so that a bad text costs only itself.
    """

    def __init__(self, chunks: Texts, embedder: embedding.Embedder, model_id: int, count: Count) -> None:
        self._chunks = chunks
        self._embedder = embedder
        self._model_id = model_id
        self._count = count
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embed")

    async def __call__(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """One outcome per delivery. Raises ``errors.Unavailable`` if the texts cannot be read."""
        texts = await self._chunks.texts([d.chunk_id for d in batch if d.chunk_id is not None], self._model_id)
        outcomes: list[Outcome] = []
        new: dict[str, list[Delivery]] = {}
        for delivery in batch:
            indexed = texts.get(delivery.chunk_id) if delivery.chunk_id is not None else None
            if indexed is None:
                outcomes.append(Failed(delivery, errors.LeaseLost("The chunk is gone.")))
            elif indexed.vector is not None:
                outcomes.append(Done(delivery, Embedded(indexed.vector, found=True)))
            else:
                new.setdefault(indexed.text, []).append(delivery)
        self._count(FOUND, sum(isinstance(outcome, Done) for outcome in outcomes))
        return outcomes + (await self._embed_all(new) if new else [])

    def close(self) -> None:
        """Ends the thread; a batch in it is finished first, by the thread alone."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _embed_all(self, new: Mapping[str, Sequence[Delivery]]) -> list[Outcome]:
        try:
            vectors = await self._vectors(list(new))
        except Exception:
            return [outcome for text, alike in new.items() for outcome in await self._embed_alone(alike, text)]
        return [done for alike, vector in zip(new.values(), vectors, strict=True) for done in self._done(alike, vector)]

    async def _embed_alone(self, alike: Sequence[Delivery], text: str) -> list[Outcome]:
        try:
            return self._done(alike, (await self._vectors([text]))[0])
        except errors.DataDistillerError as error:
            return [Failed(delivery, error) for delivery in alike]
        except Exception as error:
            wrapped = errors.TransientError(f"An unexpected {type(error).__name__} while a chunk was embedded.")
            wrapped.__cause__ = error
            return [Failed(delivery, wrapped) for delivery in alike]

    def _done(self, alike: Sequence[Delivery], vector: NDArray[np.float16]) -> list[Outcome]:
        """The results of all chunks with one text."""
        self._count(COMPUTED, 1)
        self._count(REPEATED, len(alike) - 1)
        return [Done(delivery, Embedded(vector, found=number > 0)) for number, delivery in enumerate(alike)]

    async def _vectors(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Unit vectors ``float16[len(texts), dim]``, little endian as they are stored."""
        loop = asyncio.get_running_loop()
        vectors = await loop.run_in_executor(self._thread, self._embedder.embed, texts)
        return vectors.astype("<f2")
