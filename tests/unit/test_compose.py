"""compose.yaml: the contract's names and ports, nothing open to the network, all checked, limited and restarted."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import datadistiller
from datadistiller import pipeline
from datadistiller.settings import Settings
from tests.deployment import DEPLOY, ROOT, output, program
from tools import checkers
from tools.services import minio

PORTS = {"api": ["8000:8000"], "kafka-ui": ["9000:8080"], "minio": ["9002:9000", "9001:9001"]}
#: They have no state, no network of their own and our image.
OURS = ["api", "relay", "ingest", "embed-1", "embed-2", "embed-3", "embed-4", "embed-5", "index", "reaper"]
THEIRS = ["postgres", "kafka", "kafka-ui", "minio", "opensearch"]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = FILE["services"]


def test_the_contract_s_services_are_there() -> None:
    assert sorted(SERVICES) == sorted([*OURS, *THEIRS])
    roles = {service["command"][-1] for name, service in SERVICES.items() if name in OURS}
    assert roles == set(pipeline.ROLES)
    workers = {service["environment"].get("WORKER_ID") for service in SERVICES.values()} - {None}
    assert workers == {"ingest-1", *(f"embed-{n}" for n in range(1, 6))}
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["embed-4", "embed-5"]


def test_ports_are_the_contract_s_and_of_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert {name: [port.rpartition("}:")[2] for port in ports] for name, ports in published.items()} == PORTS
    assert all(port.startswith("${DATADISTILLER_BIND:-127.0.0.1}:") for ports in published.values() for port in ports)
    inside = [name for name in SERVICES if "front" not in SERVICES[name]["networks"]]
    assert sorted(inside) == sorted({*OURS, *THEIRS} - {*PORTS})
    assert FILE["networks"]["back"]["internal"] is True


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_restarted_limited_and_has_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["logging"]["options"]["max-size"]
    assert "healthcheck" in service or name in OURS  # the image brings one
    assert service.get("read_only") is True or name in ("kafka", "kafka-ui", "opensearch")


@pytest.mark.parametrize("name", OURS)
def test_our_processes_start_when_the_services_are_healthy(name: str) -> None:
    waits = SERVICES[name]["depends_on"]
    assert waits == {other: {"condition": "service_healthy"} for other in ("postgres", "kafka", "minio", "opensearch")}
    assert int(SERVICES[name]["stop_grace_period"].rstrip("s")) > Settings.model_fields["drain_seconds"].default


def test_images_are_pinned_and_ours_is_of_this_version() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert {images[name] for name in OURS} == {f"datadistiller:{datadistiller.__version__}"}
    assert [name for name in OURS if "build" in SERVICES[name]] == ["api"]
    for name in set(THEIRS) - {"minio"}:
        assert re.search(r":v?\d+(\.\d+)*$", images[name]), images[name]
    assert minio.VERSION in (DEPLOY / "minio.Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"[a-z]+\.[a-z]{2,}/", " ".join(images.values()))  # no registry's address


def test_every_variable_is_a_setting() -> None:
    known = {f"DATADISTILLER_{setting.upper()}" for setting in Settings.model_fields} | {"WORKER_ID"}
    given = {variable for name in OURS for variable in SERVICES[name]["environment"]}
    assert not {re.sub("_FILE$", "", variable) for variable in given} - known


def test_secrets_come_from_files_that_are_nowhere_else() -> None:
    assert all(secret["file"] == f"./deploy/secrets/{name}" for name, secret in FILE["secrets"].items())
    paths = [
        (name, value, SERVICES[name]["secrets"])
        for name in SERVICES
        for value in SERVICES[name]["environment"].values()
        if str(value).startswith("/run/secrets/")
    ]
    assert len(paths) > 10
    assert not [(name, value) for name, value, secrets in paths if value.removeprefix("/run/secrets/") not in secrets]
    assert [name for name in OURS if "api_key" in SERVICES[name]["secrets"]] == ["api"]
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "deploy/secrets/" in ignored
    assert "*" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def test_the_secrets_are_written_once_and_for_their_owner_only(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "secrets.sh", tmp_path)

    def written() -> dict[str, str]:
        subprocess.run([script], check=True)
        return {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "secrets").iterdir()}

    first = written()
    assert set(first) == set(FILE["secrets"])
    assert written() == first
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert len({first["api_key"], first["postgres_password"]}) == 2
    assert min(len(first["api_key"]), len(first["postgres_password"])) == 48
    assert first["database_url"].startswith(f"postgresql://datadistiller:{first['postgres_password']}@postgres:")
    assert first["s3_secret_key"] == "minioadmin123"


def test_compose_s_own_library_accepts_it() -> None:
    resolved = yaml.safe_load(output(program(checkers.compose), "compose.yaml"))["services"]
    assert set(resolved) >= {*OURS, *THEIRS} - {"embed-4", "embed-5"}
    assert {port["host_ip"] for service in resolved.values() for port in service.get("ports", ())} == {"127.0.0.1"}
