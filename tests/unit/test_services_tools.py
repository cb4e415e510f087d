"""Installing and finding servers, without any: complete or not there, once, and never a stranger's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadistiller.runtime.process import birth_mark
from tests import services
from tools.services import __main__ as command
from tools.services import install, java, ports, programs
from tools.services.kafka import KafkaServer
from tools.services.minio import MinioServer
from tools.services.programs import ServiceError


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody's."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_two_installers_install_once(tmp_path: Path) -> None:
    begun, go_on, built = threading.Event(), threading.Event(), []

    def build(part: Path) -> None:
        begun.set()
        go_on.wait(10)
        built.append(part)
        (part / "program").write_text("it")

    def one() -> None:
        install.installed("thing", "recipe", build, tmp_path)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    assert not list((tmp_path / "install").glob("thing-*"))  # not there before it is complete
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    found = install.installed("thing", "recipe", build, tmp_path)
    assert (found / "program").read_text() == "it" and len(built) == 1
    assert install.installed("thing", "another", build, tmp_path) != found


def test_an_installation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def build(part: Path) -> None:
        (part / "half").write_text("")
        raise ServiceError("no network")

    with pytest.raises(ServiceError, match="no network"):
        install.installed("thing", "recipe", build, tmp_path)
    assert [path.name for path in (tmp_path / "install").iterdir()] == [".lock"]


def test_a_missing_program_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    for program in ("java", "mvn", "go"):
        with pytest.raises(ServiceError, match=f"^Kafka needs '{program}', which is not on the PATH: install"):
            programs.find(program, "Kafka")


def test_an_unsuitable_java_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServiceError, match=r"needs Java 17 to 23, but .* is 11"):
        java.program("OpenSearch", 17, 23)
    assert java.program("a museum", 8) == program


def test_a_failing_program_shows_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"Building it failed: sh ended with 3\.\nno space"):
        programs.run(["/bin/sh", "-c", "echo no space; exit 3"], tmp_path, "Building it")


async def test_a_stranger_with_a_recorded_number_is_not_touched(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record = {"name": "minio", "pid": sleeper.pid, "mark": "of another", "ports": {"client": 20001, "console": 20002}}
    (tmp_path / "server.json").write_text(json.dumps(record))
    server = MinioServer(tmp_path)
    assert not server.alive()
    await server.stop()
    await server.kill()
    assert sleeper.poll() is None


def test_servers_of_a_test_run_that_is_gone_are_stopped(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    folders = [tmp_path / f"dd-services-{name}" for name in ("gone", "runs")]
    for folder, mark in zip(folders, ("of another", birth_mark(os.getpid())), strict=True):
        (folder / "server").mkdir(parents=True)
        (folder / "owner.json").write_text(json.dumps({"pid": os.getpid(), "mark": mark}))
    record = {"pid": sleeper.pid, "mark": birth_mark(sleeper.pid)}
    (folders[0] / "server" / "server.json").write_text(json.dumps(record))
    services.sweep(tmp_path)
    assert sleeper.poll() is not None
    assert [folder.exists() for folder in folders] == [False, True]


def test_ports_stay_the_same_while_they_are_free(tmp_path: Path) -> None:
    first = KafkaServer(tmp_path).ports
    record = {"name": "kafka", "pid": None, "mark": None, "ports": first}
    (tmp_path / "server.json").write_text(json.dumps(record))
    assert KafkaServer(tmp_path).ports == first
    assert len(set(ports.free(["a", "b", "c"]).values())) == 3


def test_the_command_knows_what_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(install.FOLDER_VARIABLE, str(tmp_path))
    assert command.main(["stop"]) == 0
    assert command.main(["status", "kafka", "minio"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", "kafka", "minio"]
    assert all(line.endswith("stopped") for line in lines[1:])
    assert json.loads((tmp_path / "state.json").read_text()) == {"servers": {}, "environment": {}}
    with pytest.raises(SystemExit):
        command.main(["start", "zookeeper"])
