"""The way to Kafka: topics, backlogs, and what is said when the broker is away, or does not want us."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from datadistiller import errors, pipeline
from datadistiller.messages import CHUNK_TOPIC
from datadistiller.queueing import Record
from datadistiller.queueing.kafka_client import Access
from datadistiller.queueing.kafka_publisher import KafkaPublisher
from tests import kafka_kit, services
from tools.services.kafka import KafkaServer

SECRET = "hunter2"


@pytest.fixture
async def broker(kafka: KafkaServer) -> KafkaServer:
    """The shared broker without topics."""
    await kafka_kit.fresh(kafka)
    return kafka


@pytest.fixture
async def publisher(broker: KafkaServer) -> AsyncIterator[KafkaPublisher]:
    opened = KafkaPublisher(Access(broker.url))
    yield opened
    await opened.close()


async def test_topics_that_differ_are_told(broker: KafkaServer, publisher: KafkaPublisher) -> None:
    expected = pipeline.topics()
    assert len(await publisher.differences(expected)) == len(expected)
    await broker.tool(
        "kafka-topics", "--create", "--topic", CHUNK_TOPIC, "--partitions", "2", "--config", "retention.ms=1000"
    )
    created = await publisher.prepare(expected)
    assert set(created) == {topic.name for topic in expected} - {CHUNK_TOPIC}
    assert list(await publisher.prepare(expected)) == []
    told = await publisher.differences(expected)
    assert "The topic chunk-processing has 2 partitions; 12 are meant." in told
    assert any("chunk-processing has retention.ms=1000" in sentence for sentence in told)
    assert all("chunk-processing" in sentence for sentence in told)


async def test_it_knows_how_much_was_written(broker: KafkaServer, publisher: KafkaPublisher) -> None:
    assert await publisher.written(CHUNK_TOPIC) == 0
    await publisher.prepare(pipeline.topics())
    await publisher.publish([Record(CHUNK_TOPIC, str(n), b"{}") for n in range(50)])
    assert await publisher.written(CHUNK_TOPIC) == 50
    await publisher.close()
    with pytest.raises(errors.Unavailable):
        await publisher.publish([Record(CHUNK_TOPIC, None, b"{}")])


@pytest.mark.parametrize("url", ["kafka://", "kafka://,", "kafka://me:hunter2@host:1", "kafka://host:1/path"])
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(errors.SetupError) as refused:
        KafkaPublisher(Access(url))
    assert "DATADISTILLER_QUEUE_URL" in refused.value.hint
    assert SECRET not in refused.value.message + refused.value.hint


def test_a_port_may_be_left_out() -> None:
    assert Access("kafka://a,b:1,[::1],[::1]:2").servers == "a:9092,b:1,[::1]:9092,[::1]:2"


def test_a_password_does_not_show() -> None:
    assert SECRET not in repr(Access("kafka://a", password=SECRET))


async def test_a_broker_that_is_not_there_is_waited_for() -> None:
    publisher = KafkaPublisher(Access("kafka://127.0.0.1:1"))
    with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1:1 does not answer: .*refused"):
        await publisher.check()
    with pytest.raises(errors.SetupError, match="cannot work"):
        await KafkaPublisher(Access("kafka://127.0.0.1:1", security="ssl", ca_file="/nowhere")).check()
    await publisher.close()


async def test_who_is_refused_is_told_which_setting_to_check(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    async with services.own(lambda folder: secured(folder, certificate)) as broker:
        right = Access(
            broker.url, "sasl_ssl", "PLAIN", username="dd", password=SECRET, ca_file=str(tmp_path / "cert.pem")
        )
        await check(right)
        with pytest.raises(errors.SetupError, match="refuses the user 'dd'") as refused:
            await check(Access(**{**fields(right), "password": "wrong-one"}))
        assert "DATADISTILLER_KAFKA_PASSWORD" in refused.value.hint
        assert "wrong-one" not in refused.value.message + refused.value.hint
        with pytest.raises(errors.SetupError, match="encrypted connection") as unknown:
            await check(Access(**{**fields(right), "ca_file": ""}))
        assert "DATADISTILLER_KAFKA_CA_FILE" in unknown.value.hint
        with pytest.raises(errors.Unavailable):
            await check(Access(broker.url))


def fields(access: Access) -> dict[str, str]:
    return {name: getattr(access, name) for name in Access.__slots__}


async def check(access: Access) -> None:
    publisher = KafkaPublisher(access)
    try:
        await publisher.check()
    finally:
        await publisher.close()


def self_signed(folder: Path) -> Path:
    """A key and a certificate for the loopback address, in one file."""
    argv = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*argv.split(), *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


def secured(folder: Path, certificate: Path, more: Mapping[str, str] | None = None) -> KafkaServer:
    """A broker that asks for a password over TLS; ``more`` settings are given to it."""
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    settings = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificate),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": f'{module} required user_dd="{SECRET}";',
        **(more or {}),
    }
    return KafkaServer(folder, settings=settings, security="SASL_SSL")
