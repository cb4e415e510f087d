"""THE table: what stages there are, what they read, who runs them, and their limits.

Roles, topics, command line help, metric labels and the diagram in ARCHITECTURE.md derive from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from datadistiller.messages import CHUNK_TOPIC, EVENTS_TOPIC, INGEST_TOPIC, REMOVE_TOPIC
from datadistiller.queueing import Topic

#: On a broker. Work is told again from the database if it is lost there, so it need not lie there for long; it must be
#: gone before the broker forgets how far a group has read (a week by default).
WORK_HOURS = 24.0
TOLD_HOURS = 30 * 24.0  # dead letters and document events are for others to read
EVENTS_PARTITIONS = 6


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of the write path."""

    name: str
    topic: str  # what it reads
    group: str  # the consumer group that shares the topic
    role: str  # the process that runs it
    batch: int  # messages begun and settled together
    window: int  # a batch as DATADISTILLER_KAFKA_WINDOW counts them: messages
    concurrency: int  # batches in flight in one process
    seconds: float  # a lease lasts this long; work that takes longer is stopped
    partitions: int  # of its topic on a broker: that many processes can share it
    tries: int  # reported transient failures until the dead letter
    solo_crashes: int  # crashes while delivered alone until the dead letter
    next_topics: tuple[str, ...]
    help: str

    @property
    def dead_letter_topic(self) -> str:
        """Where a broker mirrors the stage's dead letters."""
        return f"{self.topic}.dlq"


PIPELINE = (
    StageSpec(
        name="ingest",
        topic=INGEST_TOPIC,
        group="ingestion-workers",
        role="ingest",
        batch=16,  # small documents, see is_small in the database; others come alone
        window=1,
        concurrency=2,
        seconds=1800,  # beyond what parsing may take with its defaults, pages read by OCR included
        partitions=6,
        tries=5,
        solo_crashes=5,
        next_topics=(CHUNK_TOPIC,),
        help="reads a document and cuts it into chunks",
    ),
    StageSpec(
        name="embed",
        topic=CHUNK_TOPIC,
        group="embedding-workers",
        role="embed",
        batch=32,
        window=32,
        concurrency=2,
        seconds=300,
        partitions=12,
        tries=5,
        solo_crashes=5,
        next_topics=(),
        help="turns the texts of chunks into vectors",
    ),
    StageSpec(
        name="remove",
        topic=REMOVE_TOPIC,
        group="removal-workers",
        role="ingest",
        batch=8,
        window=8,
        concurrency=1,
        seconds=300,
        partitions=3,
        tries=100,
        solo_crashes=20,
        next_topics=(),
        help="purges what a deleted document left in the stores",
    ),
)

#: What a process can be told to run. The stages' roles, and those that serve no topic.
ROLES = {
    "api": "answers HTTP requests; in embedded mode it holds the search index and follows its change feed",
    "ingest": "reads documents and cuts them into chunks; purges deleted ones",
    "embed": "turns chunks into vectors",
    "relay": "publishes messages and document events to a broker; only with one, see DATADISTILLER_QUEUE_URL",
    "index": "brings changed chunks into a search index outside the API; a second one waits to take over",
    "reaper": "frees the messages of dead workers, sweeps orphans and old records",
}


def stage(name: str) -> StageSpec:
    """The stage of that name; KeyError if there is none."""
    return {spec.name: spec for spec in PIPELINE}[name]


def needed_roles(*, broker: bool, index_inside: bool) -> tuple[str, ...]:
    """The roles without which documents wait, besides ``api``: of the stages, and for services outside."""
    more = (*(("relay",) if broker else ()), *(() if index_inside else ("index",)))
    return tuple(dict.fromkeys([*(spec.role for spec in PIPELINE), *more]))


def stages_of(role: str) -> tuple[StageSpec, ...]:
    """The stages a role runs, in pipeline order."""
    return tuple(spec for spec in PIPELINE if spec.role == role)


def topics() -> tuple[Topic, ...]:
    """Every topic on a broker, as it is to be."""
    work = [Topic(spec.topic, spec.partitions, WORK_HOURS) for spec in PIPELINE]
    dead = [Topic(spec.dead_letter_topic, 1, TOLD_HOURS) for spec in PIPELINE]
    return (*work, *dead, Topic(EVENTS_TOPIC, EVENTS_PARTITIONS, TOLD_HOURS))
