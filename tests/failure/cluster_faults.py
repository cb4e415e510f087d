"""What happens to a cluster from outside while documents go in: each fault returns when it is over."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence

import httpx
import psycopg

from benchmarks.harness import large_texts
from datadistiller import pipeline
from tests.exposed import Exposed
from tests.kafka_kit import pass_by, reading, until, write
from tests.proxy import Mode
from tools.services.kafka import KafkaServer

Fault = Callable[[Exposed], Awaitable[None]]

SEED = 20261126
#: What the cluster of these tests is told. A stalled consumer is silent for longer than Kafka waits and shorter than
#: the others wait for its heartbeat.
WORKER_TIMEOUT, KAFKA_POLL, STALL = 12, 6, 8
PASSERS_BY = 3
RELAY_KILLS = 3
REPLAYS = 3
TROUBLE_SECONDS = 6


async def patiently(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Waits for something that ought to take seconds; every other test may be running beside this one."""
    await until(holds, 240)


async def bucket_slow_then_broken(cluster: Exposed) -> None:
    cluster.objects.set(Mode.SLOW)
    await asyncio.sleep(TROUBLE_SECONDS)
    cluster.objects.set(Mode.ERRORS)
    await patiently(lambda: cluster.objects.requests_failed > 10)
    await asyncio.sleep(TROUBLE_SECONDS)
    cluster.objects.set(Mode.PASS)


async def index_too_busy(cluster: Exposed) -> None:
    cluster.index.set(Mode.BUSY)
    await patiently(lambda: cluster.index.requests_failed > 5)
    cluster.index.set(Mode.PASS)


async def workers_come_and_go(cluster: Exposed) -> None:
    """Two workers come and are killed; meanwhile members without a worker behind them, which need no time to start,
    come every second or two, take partitions, and leave with what they were given."""
    chance = random.Random(SEED)
    spec = pipeline.stage("embed")
    before = assignments(cluster, "embed-4")
    for guest in ("embed-guest0", "embed-guest1"):
        cluster.launch(guest)
        for _ in range(PASSERS_BY):
            seconds = chance.uniform(1, 2)
            await asyncio.to_thread(pass_by, cluster.services.kafka, spec.topic, spec.group, seconds)
        await patiently(lambda guest=guest: assignments(cluster, guest) > 0)
        cluster.leave(guest, signal.SIGKILL)
    await patiently(lambda: assignments(cluster, "embed-4") > before)


async def consumer_stalled(cluster: Exposed) -> None:
    before = assignments(cluster, "embed-4")
    stalled = cluster.processes["embed-4"]
    stalled.send_signal(signal.SIGSTOP)
    await asyncio.sleep(STALL)
    stalled.send_signal(signal.SIGCONT)
    await patiently(lambda: assignments(cluster, "embed-4") > before)


async def relay_killed(cluster: Exposed) -> None:
    """At a random moment of the first second in which it publishes: soon before, in, or after the recording."""
    chance = random.Random(SEED)
    name = "relay,reaper-1"
    for _ in range(RELAY_KILLS):
        led = times_told(cluster, name, "relay_leads")
        cluster.processes[name].kill()
        await patiently(lambda led=led: times_told(cluster, name, "relay_leads") > led)
        await asyncio.sleep(chance.uniform(0, 1))
    cluster.processes[name].kill()


async def delivered_again(cluster: Exposed) -> None:
    """A foreign producer repeats all that was ever published, in another order and on other partitions."""
    chance = random.Random(SEED)
    for _ in range(REPLAYS):
        for stage in ("embed", "ingest"):
            topic = pipeline.stage(stage).topic
            values = await published(cluster.services.kafka, topic)
            chance.shuffle(values)
            await asyncio.to_thread(write, cluster.services.kafka, topic, *values)
        await asyncio.sleep(1)


async def far_host_cut_off(cluster: Exposed) -> None:
    """The worker over there holds messages, the follower over there leads; their work must be taken over, and what
    they still send when they are back must change nothing."""
    await far_follower_leads(cluster)
    await asyncio.to_thread(cluster.upload_all, large_texts(2))
    try:
        await cut_while_working(cluster)
        await patiently(lambda: leased(cluster, "embed-far") == set())
        await patiently(lambda: leader(cluster) == "index-2")
    finally:
        cluster.far.mend()
    await patiently(lambda: heard_of(cluster, {"embed-far", "index-far"}))
    async with httpx.AsyncClient(trust_env=False) as http:
        await patiently(lambda: refused_late_results(cluster, http))


async def database_failed_over(cluster: Exposed) -> None:
    """Both know all that was answered. Afterwards the one that was killed follows the other."""
    await cluster.pair.fail_over()
    await cluster.pair.follow()


FAULTS: Sequence[Fault] = (
    bucket_slow_then_broken, index_too_busy, workers_come_and_go, consumer_stalled, relay_killed, delivered_again,
    far_host_cut_off, database_failed_over,
)  # fmt: skip


def times_told(cluster: Exposed, name: str, event: str) -> int:
    """How often a process has logged something."""
    log = cluster.log_of(name)
    return log.read_text().count(f'"{event}"') if log.exists() else 0


def assignments(cluster: Exposed, name: str) -> int:
    """How often Kafka has given partitions to a process."""
    return times_told(cluster, name, "partitions_assigned")


async def published(kafka: KafkaServer, topic: str) -> list[bytes | None]:
    """The values of all records in a topic."""
    with reading(kafka, topic) as reader:
        known = await asyncio.to_thread(reader.known, topic)
        return [record.value() for record in await reader.count(known)]


async def far_follower_leads(cluster: Exposed) -> None:
    while leader(cluster) != "index-far":
        cluster.processes["index-2"].kill()
        await asyncio.sleep(1)


async def cut_while_working(cluster: Exposed) -> None:
    """Cuts the far host off while its worker has messages in hand that it knows of: seen twice."""
    while True:
        seen = leased(cluster, "embed-far")
        await asyncio.sleep(0.05)
        if seen & leased(cluster, "embed-far"):
            cluster.far.cut()
            await asyncio.sleep(0.5)  # what was on its way has arrived
            if seen & leased(cluster, "embed-far"):
                return
            cluster.far.mend()


def leader(cluster: Exposed) -> str:
    """The name of the follower that said last that it leads."""
    [(name,)] = ask(cluster, "SELECT worker_id FROM followers WHERE name = 'index'")
    return str(name)


def leased(cluster: Exposed, name: str) -> set[object]:
    """The messages that a worker has begun."""
    rows = ask(
        cluster, "SELECT m.id FROM messages m JOIN workers w ON w.boot = m.lease_boot WHERE w.worker_id = %s", name
    )
    return {number for (number,) in rows}


def heard_of(cluster: Exposed, names: set[str]) -> bool:
    """True if all of them said just now that they live."""
    rows = ask(cluster, "SELECT worker_id FROM workers WHERE seen_at > now() - interval '4 seconds'")
    return names <= {str(name) for (name,) in rows}


async def refused_late_results(cluster: Exposed, http: httpx.AsyncClient) -> bool:
    """True once the far worker knows of results of its own that were refused."""
    told = (await http.get(cluster.far_metrics)).text
    counts = [line.rpartition(" ")[2] for line in told.splitlines() if line.startswith(_REFUSED)]
    return sum(map(float, counts)) > 0


_REFUSED = 'datadistiller_attempts_total{outcome="refused",stage="embed"}'


def ask(cluster: Exposed, statement: str, *values: object) -> list[tuple[object, ...]]:
    """The rows of a statement, from whichever database takes writes."""
    with psycopg.connect(cluster.pair.url) as conn:
        return conn.execute(statement.encode(), values).fetchall()
