"""Examines a running system and says what is wrong, in sentences with a hint each."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from datadistiller import errors, objects, pipeline, queueing
from datadistiller.runtime.index_status import IndexState, IndexStatus
from datadistiller.store.inspection import Inspection
from datadistiller.store.messages import Messages
from datadistiller.store.outbox import Outbox
from datadistiller.store.workers import Workers

#: The index is always a little behind while documents come and go; longer than this it stands still, seconds.
LAG_SECONDS = 30.0
#: A message that is due for this long, with workers alive, is worth a look, seconds. One that was published should be
#: begun much sooner: the relay publishes it again every half minute.
OLD_SECONDS = 600.0
PUBLISHED_SECONDS = 120.0


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined. ``hint`` is empty if there is nothing to do."""

    level: Level
    part: str
    sentence: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Doctor:
    """Examines one system."""

    inspection: Inspection
    messages: Messages
    workers: Workers
    objects: objects.ObjectStore
    outbox: Outbox
    publisher: queueing.Publisher | None  # None without a broker
    index: IndexStatus
    engine: str  # that turns questions into vectors here
    roles: Sequence[str]  # without a worker of which documents wait
    data_dir: Path
    worker_timeout_seconds: float
    min_free_disk_bytes: int

    async def examine(self) -> list[Finding]:
        """All findings, the unfinished jobs last. A part that does not answer is a finding, never an exception."""
        state = await self.index.state()
        findings = [self._disk(), self._engine(), self._index(state), *await self._objects(), *await self._broker()]
        try:
            findings += await self._database(state)
            findings += await self._workers()
            findings += await self._queue()
            findings += await self._windows()
            findings += await self._jobs()
        except errors.Unavailable as error:
            findings.append(Finding(Level.ERROR, "database", error.message, "Start PostgreSQL, or see its log."))
        return findings

    def _disk(self) -> Finding:
        free = shutil.disk_usage(self.data_dir).free
        sentence = f"{free / 1e9:.1f} GB are free for {self.data_dir}."
        if free < self.min_free_disk_bytes:
            return Finding(Level.ERROR, "disk", sentence, "Uploads are refused until there is more room.")
        return Finding(Level.OK, "disk", sentence)

    def _engine(self) -> Finding:
        return Finding(
            Level.OK, "embedding", f"Questions become vectors by {self.engine}; each worker logs its engine."
        )

    def _index(self, state: IndexState) -> Finding:
        if state.error is not None:
            return Finding(Level.ERROR, "index", f"The index follower does not follow: {state.error}", state.hint)
        if not state.ready:
            return Finding(Level.WARNING, "index", "The index follower is still catching up.", "Wait for /readyz.")
        return Finding(Level.OK, "index", f"The index holds {state.entries} chunks and is {state.lag} changes behind.")

    async def _objects(self) -> Sequence[Finding]:
        try:
            await self.objects.check()
        except errors.DataDistillerError as error:
            return [Finding(Level.ERROR, "objects", error.message, error.hint)]
        return [Finding(Level.OK, "objects", "The object store answers.")]

    async def _broker(self) -> Sequence[Finding]:
        """Whether the broker answers, and has the topics as they are to be."""
        if self.publisher is None:
            return []
        try:
            differences = await self.publisher.differences(pipeline.topics())
        except errors.DataDistillerError as error:
            return [Finding(Level.ERROR, "queue", error.message, error.hint)]
        hint = "The relay creates missing topics; what is there it leaves alone: change it with Kafka's own tools."
        found = [Finding(Level.WARNING, "queue", sentence, hint) for sentence in differences]
        return found or [Finding(Level.OK, "queue", "Kafka answers and has all topics.")]

    async def _database(self, state: IndexState) -> Sequence[Finding]:
        version = await self.inspection.version()
        counts = await self.inspection.counts()
        live, held = await self.inspection.live_chunks(), state.entries
        size = counts["database_bytes"] / 1e6
        found = [Finding(Level.OK, "database", f"PostgreSQL {version} answers; the database has {size:.0f} MB.")]
        documents, chunks = counts["documents"], counts["chunks"]
        text = f"{documents} documents, {chunks} chunks; {live} belong in the index, {held} are in it."
        if live == held or await self._moving(state, counts["messages"]):
            found.append(Finding(Level.OK, "index", text))
        else:
            hint = "If it stays so, run 'datadistiller rebuild-index'; questions go on meanwhile."
            found.append(Finding(Level.WARNING, "index", text, hint))
        if counts["dead_letters"]:
            sentence = f"{counts['dead_letters']} dead letters wait for a decision."
            found.append(Finding(Level.WARNING, "queue", sentence, "See 'datadistiller dead-letters list'."))
        return found

    async def _moving(self, state: IndexState, messages: int) -> bool:
        """Whether documents come or go, and the index with them."""
        under_way = messages or state.lag or await self.inspection.unfinished(1)
        return bool(under_way) and state.lag_seconds <= LAG_SECONDS

    async def _workers(self) -> Sequence[Finding]:
        alive = await self.workers.alive(self.worker_timeout_seconds)
        roles = Counter(role for worker in alive for role in worker.role.split(","))
        found = []
        for role in self.roles:
            if roles[role]:
                number = "1 worker is" if roles[role] == 1 else f"{roles[role]} workers are"
                found.append(Finding(Level.OK, "workers", f"{number} alive for {role}."))
            else:
                hint = f"Start one: datadistiller serve --roles {role}. With 'up' it restarts by itself; see its log."
                found.append(Finding(Level.ERROR, "workers", f"No {role} worker is alive.", hint))
        return found

    async def _queue(self) -> Sequence[Finding]:
        found = []
        for depth in await self.messages.depths():
            text = f"{depth.topic}: {depth.due} due, {depth.leased} being worked on, {depth.delayed} delayed"
            text += f", the oldest for {depth.oldest_age_seconds:.0f} s."
            old = depth.due > 0 and depth.oldest_age_seconds > OLD_SECONDS
            hint = "More workers of this stage would help." if old else ""
            found.append(Finding(Level.WARNING if old else Level.OK, "queue", text, hint))
        return found

    async def _windows(self) -> Sequence[Finding]:
        """What was published and is not begun."""
        found = []
        for spec in pipeline.PIPELINE if self.publisher is not None else ():
            window = await self.outbox.window(spec.topic)
            age = window.oldest_seconds
            text = f"{spec.topic}: {window.messages} published and not begun, the oldest for {age:.0f} s."
            old = age > PUBLISHED_SECONDS
            hint = f"Is a {spec.role} worker alive, and a member of the group {spec.group}?" if old else ""
            found.append(Finding(Level.WARNING if old else Level.OK, "queue", text, hint))
        return found

    async def _jobs(self) -> Sequence[Finding]:
        return [
            Finding(Level.OK, "job", f"{job.job_id} '{job.filename}' is {job.status}: {job.reason}", job.hint)
            for job in await self.inspection.unfinished()
        ]
