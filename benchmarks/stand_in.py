"""An embedding worker without an embedding model: ``python -m benchmarks.stand_in --seconds S --roles embed``.

Everything but the model is the real worker: it begins, reads the texts, settles. The stand-in gives each text a random
unit vector. With S = 0 it is the null embedder, which shows what all else costs; with S = 0.05 it sleeps as long per
batch, as a remote embedder lets its caller wait. No HTTP is spoken, so what that costs a real caller is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datadistiller import pipeline, wiring
from datadistiller.runtime import process, telemetry
from datadistiller.runtime.flights import Flights
from datadistiller.runtime.settlement import Settlement
from datadistiller.runtime.worker import Worker
from datadistiller.settings import Settings
from datadistiller.stages.embed import Embed
from datadistiller.store.chunks import Chunks
from datadistiller.store.messages import Limits, Messages
from datadistiller.store.models import Models
from datadistiller.wiring import adapters

VECTORS = 4096


class StandIn:
    """Implements ``embedding.Embedder`` in nothing but its form. It goes by the bundled model's name."""

    def __init__(self, seconds: float) -> None:
        self.fingerprint, self.dim = adapters.model_in_use(Settings())
        self.engine = "stand-in"
        self._seconds = seconds
        random = np.random.default_rng(0).standard_normal((VECTORS, self.dim), dtype=np.float32)
        self._vectors = random / np.linalg.norm(random, axis=1, keepdims=True)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """A vector that depends on nothing but the text."""
        if self._seconds:
            time.sleep(self._seconds)
        found: NDArray[np.float32] = self._vectors[[zlib.crc32(text.encode()) % VECTORS for text in texts]]
        return found

    def embed_question(self, text: str) -> NDArray[np.float32]:
        """The same for one."""
        vector: NDArray[np.float32] = self.embed([text])[0]
        return vector


async def main(seconds: float) -> None:
    """Runs the worker until it is told to stop."""
    settings, spec, stop = Settings(), pipeline.stage("embed"), asyncio.Event()
    process.stop_on_signals(stop)
    process.lower_priority()
    async with wiring.open_core(settings, [spec.role], stop) as core, wiring.member(core, stop) as heart:
        embedder, messages, boot = StandIn(seconds), Messages(core.database), core.identity.boot
        model_id = await Models(core.database).activate(embedder.fingerprint, embedder.dim)
        flights = Flights(messages, boot)
        limits = Limits(spec.tries, spec.solo_crashes)
        source = await adapters.open_source(settings, spec, messages, core.signals, boot)
        settlement = Settlement(spec, limits, model_id, messages, core.notifier, core.metrics, heart.alive)
        stage = Embed(Chunks(core.database), embedder, model_id, core.metrics.count_vectors)
        worker = Worker(spec, source, stage, settlement, flights, messages, core.metrics, boot, settings.drain_seconds)
        watch = asyncio.create_task(flights.watch())
        await worker.run(stop)
        watch.cancel()
        stage.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--roles", choices=["embed"], required=True)  # so that it is counted among them
    telemetry.configure_logging("info", "json")
    asyncio.run(main(parser.parse_args().seconds))
