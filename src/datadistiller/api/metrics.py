"""GET /metrics: what the processes counted, and how the queues and the index stand at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from datadistiller import errors, wiring
from datadistiller.api.parts import Parts
from datadistiller.store.messages import TopicDepth
from datadistiller.store.workers import WorkerRow

router = APIRouter(tags=["operations"])


@router.head("/metrics", include_in_schema=False)
@router.get(
    "/metrics",
    operation_id="get_metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"description": "Text exposition.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_metrics(parts: Parts) -> Response:
    """Given even while the database is away; what is read from it is missing then."""
    now = CollectorRegistry()
    now.register(_Now(await _gauges(parts)))
    counted = await asyncio.to_thread(lambda: generate_latest(parts.metrics.registry()))
    return Response(counted + generate_latest(now), media_type=CONTENT_TYPE_LATEST)


class _Now(Collector):
    """Values read for this one answer."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """What was read."""
        return self._families


async def _gauges(parts: wiring.ApiParts) -> list[GaugeMetricFamily]:
    state = await parts.index.state()
    found = [
        _gauge("index_ready", "1 if the search index has caught up.", [], [([], float(state.ready))]),
        _gauge("index_entries", "Chunks in the search index.", [], [([], state.entries)]),
        _gauge("index_lag_chunks", "Changed chunks the index does not show yet.", [], [([], state.lag)]),
        _gauge("index_lag_seconds", "For how long there have been such chunks.", [], [([], state.lag_seconds)]),
    ]
    try:
        depths = await parts.messages.depths()
        documents = await parts.jobs.count_by_status()
        alive = await parts.workers.alive(parts.settings.worker_timeout_seconds)
    except errors.Unavailable:
        return [*found, _gauge("database_up", "1 if PostgreSQL answers.", [], [([], 0)])]
    return [
        *found,
        *_queues(depths),
        *_workers(alive),
        _gauge("database_up", "1 if PostgreSQL answers.", [], [([], 1)]),
        _gauge("documents", "Documents by status.", ["status"], [([s], float(n)) for s, n in documents.items()]),
    ]


def _queues(depths: Iterable[TopicDepth]) -> list[GaugeMetricFamily]:
    depths = list(depths)
    waiting = [
        ([depth.topic, state], float(getattr(depth, state)))
        for depth in depths
        for state in ("due", "leased", "delayed")
    ]
    oldest = [([depth.topic], depth.oldest_age_seconds) for depth in depths]
    dead = [([depth.topic], float(depth.dead)) for depth in depths]
    return [
        _gauge("queue_messages", "Messages by topic and state.", ["topic", "state"], waiting),
        _gauge("queue_oldest_seconds", "Age of the oldest message that is due.", ["topic"], oldest),
        _gauge("dead_letters", "Dead letters by topic.", ["topic"], dead),
    ]


def _workers(alive: list[WorkerRow]) -> list[GaugeMetricFamily]:
    memory = [([row.role, row.worker_id], float(row.memory_bytes)) for row in alive]
    return [_gauge("worker_memory_bytes", "Resident memory of each live worker.", ["role", "worker"], memory)]


def _gauge(name: str, text: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"datadistiller_{name}", text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family
