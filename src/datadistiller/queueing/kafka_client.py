"""What the Kafka adapters share: how to reach the broker, and what its errors mean for us."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException

from datadistiller import errors

SCHEME = "kafka://"
PORT = "9092"
#: The broker has this long to answer, seconds.
PATIENCE = 5.0
#: An outage that goes on is logged this often, seconds.
REMIND_SECONDS = 60.0

_UNTRUSTED = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED)
_UNENCRYPTED = (KafkaError._SSL,)
#: General words: what was told by callback before explains more.
_SILENT = (
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
)
_FORBIDDEN = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the broker is, and who we are. An empty text means: not given."""

    url: str
    security: str = "plaintext"
    mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    client_id: str = "datadistiller"

    @property
    def servers(self) -> str:
        """Hosts and ports. ``errors.SetupError`` if the URL has none, or has more than that."""
        given = self.url.removeprefix(SCHEME).rstrip("/")
        servers = [server.strip() for server in given.split(",")]
        if not all(servers) or any(mark in given for mark in "@/?#"):
            raise errors.SetupError(
                "The queue's URL cannot be read.",
                hint="Set DATADISTILLER_QUEUE_URL to kafka://host:port[,host:port]; user and password have settings "
                "of their own, DATADISTILLER_KAFKA_USERNAME and DATADISTILLER_KAFKA_PASSWORD.",
            )
        return ",".join(server if _has_port(server) else f"{server}:{PORT}" for server in servers)

    def config(self, told: Callable[[KafkaError], object]) -> dict[str, Any]:
        """librdkafka's settings. ``told`` hears of what goes wrong in the background."""
        given = {
            "sasl.mechanism": self.mechanism if self.security.startswith("sasl") else "",
            "sasl.username": self.username,
            "sasl.password": self.password,
            "ssl.ca.location": self.ca_file,
            "ssl.certificate.location": self.cert_file,
            "ssl.key.location": self.key_file,
        }
        return {
            "bootstrap.servers": self.servers,
            "client.id": self.client_id,
            "security.protocol": self.security,
            **{name: value for name, value in given.items() if value},
            "socket.timeout.ms": 10_000,
            "reconnect.backoff.max.ms": 1_000,
            # A topic that the relay made, or made again, is noticed within seconds.
            "topic.metadata.refresh.interval.ms": 5_000,
            "log_level": 2,  # it logs each vain connection; we say once that the broker is away
            "error_cb": told,
        }


class Troubles:
    """What librdkafka tells of connections by callback only: kept for the sentence of the error that follows."""

    def __init__(self, access: Access, topic: str = "") -> None:
        self._access = access
        self._topic = topic
        self._last: KafkaError | None = None
        self._logged: tuple[int, float] = (0, 0.0)

    def __call__(self, error: KafkaError) -> None:
        """librdkafka's callback."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN or self._last is None:
            self._last = error
        if self._topic and error.code() in (KafkaError._ALL_BROKERS_DOWN, *_UNTRUSTED, *_UNENCRYPTED):
            self.log(error)

    def log(self, error: KafkaError) -> None:
        """Says that the queue is away; not again for the same reason within a minute."""
        code, at = self._logged
        if code == error.code() and time.monotonic() - at < REMIND_SECONDS:
            return
        self._logged = (error.code(), time.monotonic())
        meant = self.meaning(error)
        structlog.get_logger().warning("queue_away", topic=self._topic, reason=meant.message, hint=meant.hint)

    def forget(self) -> None:
        """The broker answers again."""
        self._last = None

    def meaning(self, error: KafkaError) -> errors.DataDistillerError:
        """Our error for one of librdkafka's."""
        cause = self._last if self._last is not None and error.code() in _SILENT else error
        where, reason = f"Kafka at {self._access.servers}", _reason(cause)
        if cause.code() in _UNTRUSTED:
            return errors.SetupError(
                f"{where} refuses the user '{self._access.username}': {reason}.",
                hint="Check DATADISTILLER_KAFKA_USERNAME, DATADISTILLER_KAFKA_PASSWORD and DATADISTILLER_KAFKA_SASL.",
            )
        if cause.code() in _UNENCRYPTED:
            return errors.SetupError(
                f"{where} and we cannot agree on an encrypted connection: {reason}.",
                hint="Check DATADISTILLER_KAFKA_SECURITY, DATADISTILLER_KAFKA_CA_FILE and our certificate.",
            )
        if cause.code() in _FORBIDDEN:
            return errors.SetupError(
                f"{where} does not let the user '{self._access.username}' do this: {reason}.",
                hint="Grant what the operations guide lists, or let an administrator create the topics.",
            )
        if cause.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
            return errors.Unavailable(f"{where} lacks a topic.", hint="Start the relay: it creates the topics.")
        if cause.code() == KafkaError._MAX_POLL_EXCEEDED:
            stalled = f"{where} gave our partitions to others: this process stood still for too long."
            return errors.Unavailable(stalled, hint="Nothing to do; it joins again by itself.")
        failed = "does not answer" if cause.code() in _SILENT else "could not do this"
        return errors.Unavailable(
            f"{where} {failed}: {reason}.", hint="Start Kafka, or check DATADISTILLER_QUEUE_URL and Kafka's log."
        )

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns librdkafka's exceptions into ours."""
        try:
            yield
        except KafkaException as error:
            raise self.meaning(error.args[0]) from None


@contextmanager
def opening() -> Iterator[None]:
    """For making a client: what fails there are its settings."""
    try:
        yield
    except KafkaException as error:
        raise errors.SetupError(
            f"The settings for Kafka cannot work: {_reason(error.args[0])}.",
            hint="Check the settings DATADISTILLER_KAFKA_SECURITY, DATADISTILLER_KAFKA_SASL and the certificate files.",
        ) from None


def _reason(error: KafkaError) -> str:
    """librdkafka's words without the time it took and where; they hold no secret."""
    return error.str().split(" (after ")[0].rstrip(".")


def _has_port(server: str) -> bool:
    return server.rpartition("]")[2].rpartition(":")[2].isdecimal()
