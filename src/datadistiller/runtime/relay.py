"""Publishes to a broker what PostgreSQL holds: due messages through a window, dead letters, document events.

Only the database knows what is due; the broker only tells workers sooner. The window makes "lost in the broker"
differ from "waiting in it": it holds what is published and not begun, so only that is ever published again. It is as
a whole when this relay begins to lead and after any trouble with the broker, whatever that has lost; and one by one,
without a key, what has waited for long behind a slow worker: another one may get it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from datadistiller import errors, messages, pipeline
from datadistiller.messages import EVENTS_TOPIC, Reference
from datadistiller.queueing import Publisher, Record
from datadistiller.runtime import telemetry
from datadistiller.runtime.waiting import wait
from datadistiller.store import signals
from datadistiller.store.locks import Lock
from datadistiller.store.outbox import Outbox
from datadistiller.store.signals import Signals

#: Pauses between two looks at what is due, seconds: the shortest while messages flow, doubled up to the poll.
SHORTEST_PAUSE, POLL_SECONDS = 0.05, 1.0
#: Dead letters and events are looked for this often, and the broker is compared with the window, seconds.
MIRROR_SECONDS, WATCH_SECONDS = 0.5, 2.0
MIRROR_AGAIN_SECONDS = 10.0  # after a failure
#: A message that was not begun after this long is published once more; while nobody begins anything, ever more rarely.
AGAIN_SECONDS, LONGEST_AGAIN_SECONDS = 30.0, 3600.0
MIRRORED = 500  # letters or events at once
AWAY_SECONDS = 1.0
JSON = {"content-type": "application/json"}


@dataclass
class _Spell:
    """What one spell of leading remembers."""

    written: dict[str, int] = field(default_factory=dict)  # records in each topic when last seen
    patience: dict[str, float] = field(default_factory=dict)  # by topic whose window does not move, seconds
    mirror_at: float = 0.0
    watch_at: float = 0.0


class Relay:
    """Of several on one database one leads, so that the events of a document stay in order; the others stand by."""

    def __init__(
        self,
        outbox: Outbox,
        publisher: Publisher,
        signals: Signals,
        metrics: telemetry.Metrics,
        window_batches: int,
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._signals = signals
        self._metrics = metrics
        self._batches = window_batches
        self._again_seconds = again_seconds
        self._ready = False
        self._told = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Publishes until ``stop`` is set. Raises ``errors.SetupError`` if the broker refuses us from the beginning."""
        while not stop.is_set():
            try:
                async with self._outbox.lead() as lock:
                    if lock.held:
                        await self._begin()
                        await self._lead(lock, stop)
                    else:
                        self._say("Another relay publishes for this database; this one stands by.")
            except Exception as error:
                if isinstance(error, errors.SetupError) and not self._ready:
                    raise
                self._record(error)
            await wait(AWAY_SECONDS, stop)

    async def _begin(self) -> None:
        """Makes sure of the topics, and publishes the whole window: nobody knows what became of it."""
        created = await self._publisher.prepare(pipeline.topics())
        self._ready = True
        again = 0
        for spec in pipeline.PIPELINE:
            references = await self._outbox.mark_again(spec.topic, 0)
            await self._publish(spec.topic, references)
            again += len(references)
        structlog.get_logger().info("relay_leads", topics_created=list(created), published_again=again)

    async def _lead(self, lock: Lock, stop: asyncio.Event) -> None:
        spell, pause = _Spell(), SHORTEST_PAUSE
        with self._signals.subscribe(signals.WORK) as work:
            while not stop.is_set():
                await lock.check()
                work.clear()
                moved = await self._turn(spell)
                self._told = ""
                pause = SHORTEST_PAUSE if moved else min(POLL_SECONDS, 2 * pause)
                await wait(SHORTEST_PAUSE, stop)  # what comes meanwhile goes together
                await wait(pause - SHORTEST_PAUSE, stop, work)

    async def _turn(self, spell: _Spell) -> bool:
        """Publishes what there is; True if there may be more at once."""
        moved = False
        for spec in pipeline.PIPELINE:
            references = await self._outbox.mark(spec.topic, self._window(spec))
            await self._publish(spec.topic, references)
            if references:
                moved = True
                spell.patience.pop(spec.topic, None)
        now = time.monotonic()
        if now >= spell.mirror_at:
            spell.mirror_at = now + (MIRROR_SECONDS if await self._mirror() else MIRROR_AGAIN_SECONDS)
        if now >= spell.watch_at:
            spell.watch_at = now + WATCH_SECONDS
            for spec in pipeline.PIPELINE:
                await self._watch(spec, spell)
        return moved

    async def _mirror(self) -> bool:
        """Tells what happened. False if that fails: it waits, and work goes on."""
        try:
            await self._mirror_letters()
            await self._mirror_events()
        except errors.DataDistillerError as error:
            structlog.get_logger().warning("relay_cannot_tell", reason=error.message, hint=error.hint)
            await self._publisher.prepare(pipeline.topics())
            return False
        return True

    async def _mirror_letters(self) -> None:
        """Published first and recorded then: they come at least once."""
        while letters := await self._outbox.letters(MIRRORED):
            topics = {spec.topic: spec.dead_letter_topic for spec in pipeline.PIPELINE}
            await self._send(
                [Record(topics[letter.topic], letter.reference.key, letter.encode(), JSON) for letter in letters]
            )
            await self._outbox.letters_published(letters)

    async def _mirror_events(self) -> None:
        """Likewise; those of a document have one key, which keeps them in order."""
        while events := await self._outbox.events(MIRRORED):
            await self._send([Record(EVENTS_TOPIC, str(event.job_id), event.encode(), JSON) for event in events])
            await self._outbox.events_published(events)

    async def _watch(self, spec: pipeline.StageSpec, spell: _Spell) -> None:
        """Compares the window with the broker. Raises ``errors.Unavailable`` if the broker has lost something."""
        window = await self._outbox.window(spec.topic)
        if not window.messages:
            return
        written = await self._publisher.written(spec.topic)
        if written < max(1, spell.written.get(spec.topic, 0)):
            raise errors.Unavailable(f"The broker has lost records of the topic {spec.topic}.")
        spell.written[spec.topic] = written
        patience = spell.patience.get(spec.topic, self._again_seconds)
        if window.oldest_seconds >= patience:
            references = await self._outbox.mark_again(spec.topic, patience)
            await self._publish(spec.topic, references, anywhere=True)
            spell.patience[spec.topic] = min(LONGEST_AGAIN_SECONDS, 2 * patience)
            structlog.get_logger().info("published_again", topic=spec.topic, messages=len(references))

    async def _publish(self, topic: str, references: Sequence[Reference], anywhere: bool = False) -> None:
        await self._send([Record(topic, None if anywhere else r.key, messages.encode(r), JSON) for r in references])

    async def _send(self, records: Sequence[Record]) -> None:
        if not records:
            return
        await self._publisher.publish(records)
        for topic, count in Counter(record.topic for record in records).items():
            self._metrics.published.labels(topic).inc(count)

    def _window(self, spec: pipeline.StageSpec) -> int:
        return self._batches * spec.window

    def _record(self, error: Exception) -> None:
        known = isinstance(error, errors.DataDistillerError)
        reason = str(error) if known else f"The relay met an unexpected {type(error).__name__}."
        self._say(reason, None if known else error)

    def _say(self, reason: str, error: Exception | None = None) -> None:
        """Once, until it is another reason or all is well again."""
        if reason != self._told:
            structlog.get_logger().warning("relay_waits", reason=reason, exc_info=error)
        self._told = reason
