"""The whole system with Kafka in the middle: documents go through, workers die, and the stores agree at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Message

from benchmarks.harness import Server
from datadistiller.messages import EVENTS_TOPIC, INGEST_TOPIC
from tests import kafka_kit
from tests.failure import invariants
from tests.failure.test_survives import note, processes
from tests.fixtures import files
from tests.kafka_kit import forms, reading
from tools.services.kafka import KafkaServer


@pytest.fixture
def on_kafka(kafka: KafkaServer, start_server: Callable[..., Server]) -> Iterator[Server]:
    asyncio.run(kafka_kit.fresh(kafka))
    yield start_server(queue_url=kafka.url, embed_workers=2, sweep_grace_seconds=3)


def test_documents_go_through_kafka_and_a_killed_worker_loses_none(
    on_kafka: Server, kafka: KafkaServer, tmp_path: Path
) -> None:
    jobs = on_kafka.upload_all(note(n, paragraphs=12) for n in range(40))
    locked = on_kafka.upload("locked.pdf", files.encrypted_pdf(tmp_path / "locked.pdf").read_bytes())["job_id"]
    for role in ("embed", "ingest"):
        processes(on_kafka, role)[0].kill()
    states = on_kafka.wait([*jobs, locked], seconds=120)
    assert {states[job]["status"] for job in jobs} == {"completed"}
    assert states[locked]["error"]["code"] == "encrypted"
    assert on_kafka.query("Which port has the brass bell of note 3?")["citations"]
    on_kafka.http.delete(f"/api/v2/documents/{jobs[0]}").raise_for_status()
    with reading(kafka, EVENTS_TOPIC, f"{INGEST_TOPIC}.dlq") as reader:
        seen = asyncio.run(reader.read(lambda seen: len(finals(seen)) == len(states) + 1 and any_letter(seen)))
    assert sorted(finals(seen)) == sorted([*states, jobs[0]])
    assert not {form["job_id"] for form in forms(seen)} - set(states)
    sentences = at_rest(on_kafka)
    assert {"Kafka answers and has all topics.", "1 worker is alive for relay."} <= sentences
    invariants.assert_stores_agree(on_kafka, "on Kafka")


def finals(seen: Sequence[Message]) -> list[str]:
    """The documents of all last events, each as often as it was announced under another number."""
    last = {"completed", "failed", "partial", "deleted"}
    return [job for job, _ in {(f["job_id"], f["n"]) for f in forms(seen) if f.get("event") in last}]


def any_letter(seen: Sequence[Message]) -> bool:
    return any(form.get("dead_id") for form in forms(seen))


def at_rest(server: Server) -> set[str]:
    """What doctor says once nothing is under way and the index has caught up; that is nothing bad."""
    until = time.monotonic() + 60
    while True:
        findings = server.http.get("/api/v2/doctor").json()["findings"]
        waiting = [line for line in server.http.get("/metrics").text.splitlines() if "queue_messages{" in line]
        bad = [f["sentence"] for f in findings if f["level"] != "ok" and "dead letters" not in f["sentence"]]
        if not bad and all(line.endswith(" 0.0") for line in waiting):
            return {f["sentence"] for f in findings}
        assert time.monotonic() < until, (bad, waiting)
        time.sleep(0.2)
