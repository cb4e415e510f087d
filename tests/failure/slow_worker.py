"""A real worker process with a stage that a test can hold: ``python -m tests.failure.slow_worker FOLDER MARK LEASE``.

The stage writes ``begun MARK`` into FOLDER/log, waits until FOLDER/go exists, and gives vectors filled with MARK.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datadistiller import pipeline, wiring
from datadistiller.messages import Delivery, Done, Embedded, Outcome
from datadistiller.runtime import process, telemetry
from datadistiller.runtime.flights import Flights
from datadistiller.runtime.settlement import Settlement
from datadistiller.runtime.worker import Worker
from datadistiller.settings import Settings
from datadistiller.store.messages import Limits, Messages
from datadistiller.store.models import Models
from datadistiller.wiring.adapters import open_source

DIM = 4


class Held:
    """A stage that takes as long as a test wants."""

    def __init__(self, folder: Path, mark: int) -> None:
        self._folder = folder
        self._mark = mark

    async def __call__(self, batch: Sequence[Delivery]) -> list[Outcome]:
        self._say("begun", batch)
        try:
            while not (self._folder / "go").exists():  # noqa: ASYNC110 -- the test is another process
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            self._say("cancelled", batch)
            raise
        self._say("computed", batch)
        vector = np.full(DIM, self._mark, np.float16)
        return [Done(delivery, Embedded(vector)) for delivery in batch]

    def _say(self, what: str, batch: Sequence[Delivery]) -> None:
        with (self._folder / "log").open("a") as log:
            log.write(f"{what} {self._mark} {len(batch)}\n")


async def main(folder: Path, mark: int, lease_seconds: float) -> None:
    """Runs the worker until it is told to stop."""
    settings = Settings()
    spec = dataclasses.replace(pipeline.stage("embed"), seconds=lease_seconds, concurrency=1)
    stop = asyncio.Event()
    process.stop_on_signals(stop)
    async with wiring.open_core(settings, ["embed"], stop) as core, wiring.member(core, stop) as heart:
        messages = Messages(core.database)
        model_id = await Models(core.database).activate("test", DIM)
        boot = core.identity.boot
        flights = Flights(messages, boot)
        source = await open_source(settings, spec, messages, core.signals, boot)
        limits = Limits(spec.tries, spec.solo_crashes)
        settlement = Settlement(spec, limits, model_id, messages, core.notifier, core.metrics, heart.alive)
        worker = Worker(spec, source, Held(folder, mark), settlement, flights, messages, core.metrics, boot,
                        settings.drain_seconds)  # fmt: skip
        watch = asyncio.create_task(flights.watch())
        await worker.run(stop)
        watch.cancel()


if __name__ == "__main__":
    telemetry.configure_logging("info", "text")
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
