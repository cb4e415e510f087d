"""What goes over a broker: ids alone, in a form of a version; what is not of that form is told from it."""

from __future__ import annotations

import json
import subprocess
import sys
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import errors, messages, pipeline
from datadistiller.messages import Reference
from datadistiller.queueing.kafka_buffer import Buffer, Received, received

JOB, CHUNK = UUID(int=1), UUID(int=2)  # the same in each process that collects the tests


def test_the_wire_form() -> None:
    form = messages.encode(Reference(7, JOB, CHUNK))
    assert json.loads(form) == {"v": 1, "id": 7, "job_id": str(JOB), "chunk_id": str(CHUNK)}


@given(st.integers(1, 2**63 - 1), st.uuids(), st.none() | st.uuids())
def test_it_reads_what_it_writes(number: int, job_id: UUID, chunk_id: UUID | None) -> None:
    reference = Reference(number, job_id, chunk_id)
    assert messages.decode(messages.encode(reference)) == reference
    assert reference.key == str(chunk_id or job_id)


def form(**changes: object) -> bytes:
    return json.dumps({"v": 1, "id": 7, "job_id": str(JOB), "chunk_id": None, **changes}).encode()


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"secret text", b"\xff\xfe", b"[1]", b"7", b'{"v": 1}', b"[" * 100_000, b'{"id": ' + b"9" * 5000,
        form(v=2), form(v="1"), form(id="7"), form(id=True), form(id=0), form(id=-1), form(id=2**63), form(id=7.0),
        form(job_id="secret"), form(job_id=None), form(job_id=7), form(chunk_id=7), form(chunk_id=""),
    ],
)  # fmt: skip
def test_what_is_none_of_ours_is_told_without_quoting_it(value: bytes | None) -> None:
    with pytest.raises(errors.Undecodable) as refused:
        messages.decode(value)
    assert "secret" not in refused.value.message and refused.value.__cause__ is None


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_bytes_are_decoded_or_refused(value: bytes) -> None:
    record = received(0, 0, value, kept_bytes=10)
    assert (record.message_id is None) == bool(record.wrong)
    assert len(record.value) <= 10


def test_topics_are_named_as_promised() -> None:
    names = {topic.name: topic.partitions for topic in pipeline.topics()}
    assert {"doc-ingest-requests", "doc-ingest-requests.dlq", "chunk-processing", "chunk-processing.dlq"} < set(names)
    assert {"document-events", "doc-removals", "doc-removals.dlq"} < set(names)
    assert names["chunk-processing"] == 12
    groups = {spec.topic: spec.group for spec in pipeline.PIPELINE}
    assert groups["doc-ingest-requests"] == "ingestion-workers"
    assert groups["chunk-processing"] == "embedding-workers"


def test_without_a_broker_its_library_is_not_loaded() -> None:
    code = (
        "import sys\n"
        "from datadistiller import wiring\n"
        "from datadistiller.cli import main, serve, up\n"
        "import datadistiller.wiring.api, datadistiller.wiring.roles, datadistiller.api.app\n"
        "sys.exit('confluent_kafka' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def records(partition: int, *offsets: int) -> list[Received]:
    return [Received(partition, offset, offset) for offset in offsets]


def test_a_partition_is_acknowledged_up_to_what_still_waits() -> None:
    buffer = Buffer()
    buffer.own([0, 1])
    buffer.add(records(0, 5, 6, 9) + records(1, 3))
    assert buffer.acknowledged() == {}
    buffer.settle(records(0, 6))
    assert buffer.acknowledged() == {0: 5}
    buffer.settle(records(0, 5) + records(1, 3))
    assert buffer.acknowledged() == {0: 9, 1: 4}
    assert buffer.acknowledged() == {}
    buffer.settle(records(0, 9))
    assert buffer.acknowledged() == {0: 10} and len(buffer) == 0


def test_what_the_broker_did_not_take_is_acknowledged_again() -> None:
    buffer = Buffer()
    buffer.own([0, 1, 2])
    buffer.add(records(0, 5, 6) + records(1, 3))
    buffer.settle(records(0, 5) + records(1, 3))
    assert buffer.acknowledged() == {0: 6, 1: 4}
    buffer.drop([1])
    buffer.not_acknowledged([0, 1, 2])  # 1 has gone to another member meanwhile, and of 2 nothing was received
    assert buffer.acknowledged() == {0: 6}
    assert buffer.acknowledged() == {}


def test_what_belongs_to_others_is_dropped_and_never_acknowledged() -> None:
    buffer = Buffer()
    buffer.own([0, 1])
    buffer.add(records(0, 1, 2) + records(1, 7))
    looked = buffer.first(10)
    buffer.settle(records(0, 1))
    buffer.drop([0])
    buffer.add(records(0, 3))  # was under way when the partition went
    buffer.settle(looked)
    assert buffer.acknowledged() == {1: 8} and len(buffer) == 0
    buffer.own([0])
    buffer.add(records(0, 2))
    assert list(buffer.first(10)) == records(0, 2)
    buffer.drop()
    assert len(buffer) == 0


def test_records_come_in_the_order_of_their_arrival_until_they_are_settled() -> None:
    buffer = Buffer()
    buffer.own([0, 1])
    buffer.add(records(1, 4) + records(0, 1) + records(1, 5))
    assert list(buffer.first(2)) == records(1, 4) + records(0, 1)
    buffer.settle(records(1, 4))
    assert list(buffer.first(2)) == records(0, 1) + records(1, 5)
