"""Kafka 4 in KRaft mode: one process that is broker and controller, from Maven's artifacts."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import struct
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tools.services import install, java, ports, programs
from tools.services.programs import ServiceError
from tools.services.server import Server

VERSION = "4.1.0"
HEAP = "384m"
_ARTIFACTS = (
    install.artifact(f"org.apache.kafka:kafka_2.13:{VERSION}"),
    install.artifact(f"org.apache.kafka:kafka-tools:{VERSION}", alone=True),  # what it needs has the broker already
    install.artifact("org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"),
)
#: Kafka's own command-line tools, by the names of the scripts they have in its distribution.
TOOLS = {
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
}
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # length, key, version, correlation id, no client id
_STARTED = b"Kafka Server started"


class KafkaServer(Server):
    """A broker. ``security`` is that of the clients' listener; ``settings`` add to server.properties and win.

    Beside it a plain listener, ``internal``, serves the broker itself and the command-line tools.
    """

    name = "kafka"
    title = "Kafka"
    port_names: ClassVar[tuple[str, ...]] = ("client", "internal", "controller")

    def __init__(
        self,
        folder: Path,
        given: Mapping[str, int] | None = None,
        settings: Mapping[str, str] | None = None,
        security: str = "PLAINTEXT",
    ) -> None:
        super().__init__(folder, given)
        self._settings = dict(settings or {})
        self._security = security
        self._libraries = Path()
        self._announced = self.alive()  # one that another process started has said that it is up

    @property
    def bootstrap(self) -> str:
        """Address of the clients' listener."""
        return f"{ports.LOOPBACK}:{self.ports['client']}"

    @property
    def url(self) -> str:
        """The URL that DataDistiller takes."""
        return f"kafka://{self.bootstrap}"

    def environment(self) -> dict[str, str]:
        """The queue's URL."""
        return {"DATADISTILLER_QUEUE_URL": self.url}

    def install(self) -> None:
        """Fetches the broker and the tools."""
        text = install.pom("kafka", _ARTIFACTS)
        self._libraries = install.installed(f"kafka-{VERSION}", text, lambda part: _build(part, text))

    def prepare(self) -> None:
        """Formats the disk if it is empty: a broker without its data is another cluster."""
        self._announced = False
        config = self.folder / "server.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in self._properties().items()))
        (self.folder / "log4j2.properties").write_text(java.LOGGING)
        if (self.data / "meta.properties").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)
        first, *rest = uuid.uuid4().bytes
        # Without its top bit, or one id of 64 begins with a hyphen and is taken for an option.
        cluster = urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")
        argv = self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config), heap="64m")
        programs.run(argv, self.folder, "Formatting Kafka's disk")

    def command(self) -> list[str]:
        """One JVM."""
        return self._java("kafka.Kafka", str(self.folder / "server.properties"), heap=HEAP)

    async def ready(self) -> bool:
        """True if the broker is unfenced and answers which requests it knows."""
        if not self._announced:
            self._announced = self.log.exists() and _STARTED in self.log.read_bytes()[self.log_start :]
        if not self._announced:
            return False
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(2):
                return await _answers(self.ports["internal"])
        return False

    async def tool(self, name: str, *arguments: str, given: str = "", seconds: float = 60) -> str:
        """Runs one of ``TOOLS`` against this broker and returns what it printed. ``ServiceError`` if it fails."""
        await asyncio.to_thread(self.install)
        server = f"{ports.LOOPBACK}:{self.ports['internal']}"
        argv = self._java(TOOLS[name], "--bootstrap-server", server, *arguments, heap="64m")
        done = await asyncio.to_thread(
            subprocess.run, argv, input=given.encode(), capture_output=True, check=False, timeout=seconds
        )
        if done.returncode != 0:
            output = (done.stdout + done.stderr).decode(errors="replace")
            raise ServiceError(f"{name} ended with {done.returncode}.\n{programs.last_lines(output)}")
        return done.stdout.decode()

    def _java(self, main: str, *arguments: str, heap: str) -> list[str]:
        logging = self.folder / "log4j2.properties"
        flags = [f"-Xmx{heap}", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={logging}"]
        return [str(java.program(self.title, 17)), *flags, "-cp", f"{self._libraries}/*", main, *arguments]

    def _properties(self) -> dict[str, str]:
        at = {name: f"{ports.LOOPBACK}:{port}" for name, port in self.ports.items()}
        listeners = f"CLIENT://{at['client']},INTERNAL://{at['internal']}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{at['controller']}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{listeners},CONTROLLER://{at['controller']}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": (f"CLIENT:{self._security},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"),
            "inter.broker.listener.name": "INTERNAL",
            "log.dirs": str(self.data),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A killed broker's next life must wait until the former one counts as gone.
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "3000",
            # A topic that nobody created must show, not appear with a partition count of the broker's.
            "auto.create.topics.enable": "false",
            **self._settings,
        }


def _build(part: Path, text: str) -> None:
    work = part / "work"
    for jar in install.fetch(work, {"kafka": text}, f"Kafka {VERSION}")["kafka"]:
        jar.rename(part / jar.name)
    shutil.rmtree(work)


async def _answers(port: int) -> bool:
    reader, writer = await asyncio.open_connection(ports.LOOPBACK, port)
    try:
        writer.write(_API_VERSIONS)
        await writer.drain()
        head = await reader.readexactly(8)
    finally:
        writer.close()
    return head[4:] == struct.pack(">i", 1)
