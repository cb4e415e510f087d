"""No secret is shown: not in logs, answers, errors, command lines or environments of processes, whatever goes wrong."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance.live import PATIENCE, Up, environment, run
from tests.contracts.objects_kit import bucket_at
from tests.fixtures.locked import locked_pdf
from tests.proxy import Mode, Proxy
from tools.services.minio import PASSWORD, USER, MinioServer

BOOTSTRAP = "bootstrap-0123456789-0123456789-012345"
DATABASE_PASSWORD = "hunter2-of-the-database"
FILE_PASSWORD, NO_PASSWORD = "hunter2-of-the-file", "hunter3-of-no-file"


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dd-secrets-"))
    folder.chmod(0o755)  # the database may run as another user
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def proxy(minio: MinioServer) -> Iterator[Proxy]:
    running = Proxy(minio.ports["client"])
    yield running
    running.stop()


def files(folder: Path, **secrets: str) -> dict[str, str]:
    """Variables that name files with these secrets."""
    for name, value in secrets.items():
        (folder / name).write_text(f"{value}\n")
    return {f"DATADISTILLER_{name.upper()}_FILE": str(folder / name) for name in secrets}


@pytest.fixture(scope="module")
def up(scratch: Path, proxy: Proxy) -> Iterator[Up]:
    given = {
        "DATADISTILLER_LOG_LEVEL": "debug", "DATADISTILLER_REQUIRE_KEY": "always", "DATADISTILLER_S3_ACCESS_KEY": USER,
        "DATADISTILLER_OBJECTS_URL": f"s3://{bucket_at(proxy.url).name}", "DATADISTILLER_S3_ENDPOINT": proxy.url,
        "DATADISTILLER_S3_TIMEOUT_SECONDS": "3", "DATADISTILLER_PRESIGNED_SECONDS": "60",
    }  # fmt: skip
    started = Up(scratch / "data", **given, **files(scratch, s3_secret_key=PASSWORD, bootstrap_key=BOOTSTRAP))
    yield started
    started.stop()


def said_by_processes(up: Up) -> str:
    """All logs, command lines and environments."""
    root = psutil.Process(up.process.pid)
    said = [up.printed, *(path.read_text(errors="replace") for path in (up.folder / "logs").iterdir())]
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            said.append(f"{process.cmdline()} {process.environ()}")
    return "\n".join(said)


def read_locked(server: httpx.Client, folder: Path) -> list[str]:
    """Has an encrypted file read, after a wrong password; what the server said about it."""
    file = {"file": ("locked.pdf", locked_pdf(folder / "locked.pdf", FILE_PASSWORD).read_bytes())}
    shown = [server.post("/api/v2/documents/upload", files=file, data={"password": NO_PASSWORD})]
    path = f"/api/v2/documents/{shown[0].json()['job_id']}"
    for status in ("failed", "completed"):
        until = time.monotonic() + PATIENCE
        while (state := server.get(path.replace("documents", "documents/status"))).json()["status"] != status:
            assert time.monotonic() < until, state.text
            time.sleep(0.1)
        shown += [state, server.get(f"{path}/report"), server.get("/api/v2/dead-letters")]
        if status == "failed":
            shown.append(server.post(f"{path}/retry", json={"password": FILE_PASSWORD}))
    return [answer.text for answer in shown]


def test_nothing_shows_a_secret_whatever_goes_wrong(up: Up, proxy: Proxy, tmp_path: Path) -> None:
    key = run("keys", "create", "test", DATADISTILLER_URL=up.url, DATADISTILLER_API_KEY=BOOTSTRAP).stdout.strip()
    assert key.startswith("dd_")
    shown: list[str] = []
    (tmp_path / "a.txt").write_text("The lighthouse of Kermorvan stands on a rock.")
    with httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}) as server:
        for mode in (Mode.PASS, Mode.ERRORS):
            proxy.set(mode)
            for path in ("/health", "/metrics", "/api/v2/doctor", "/api/v2/keys", "/api/v2/documents", "/openapi.json"):
                answer = server.get(path)
                shown.append(f"{answer.headers} {answer.text}")
            sent = server.post("/api/v2/documents/upload", files={"file": (f"{mode}.txt", f"text {mode}".encode())})
            assert sent.status_code == (202 if mode is Mode.PASS else 503)
            shown.append(sent.text)
        proxy.set(Mode.PASS)
        shown += read_locked(server, tmp_path)
    shown += [
        httpx.get(up.url + "/api/v2/keys", headers={"Authorization": f"Bearer {k}"}).text for k in (key[:-1], "x")
    ]
    given = {"DATADISTILLER_URL": up.url, "DATADISTILLER_API_KEY": key}
    for words in (
        ("ingest", str(tmp_path / "a.txt")),
        ("keys", "list"),
        ("doctor",),
        ("settings",),
        ("jobs", "--json"),
    ):
        done = run(*words, **given)
        assert done.returncode == 0, done.stdout + done.stderr
        shown.append(done.stdout + done.stderr)
    everything = "\n".join([*shown, said_by_processes(up)])
    assert "request_id" in everything and "InternalError" in everything
    for secret in (BOOTSTRAP, PASSWORD, key, key[12:], FILE_PASSWORD, NO_PASSWORD):
        assert secret not in everything


def test_keys_open_the_server_and_their_commands_say_what_happens(up: Up, tmp_path: Path) -> None:
    refused = run("jobs", DATADISTILLER_URL=up.url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "API key" in refused.stderr and "DATADISTILLER_API_KEY" in refused.stderr
    admin = {"DATADISTILLER_URL": up.url, "DATADISTILLER_API_KEY": BOOTSTRAP}
    made = run("keys", "create", "Kim's laptop", **admin)
    key, number = made.stdout.strip(), made.stderr.split()[1].rstrip(".")
    (tmp_path / "key").write_text(f"{key}\n")
    ours = {"DATADISTILLER_URL": up.url, "DATADISTILLER_API_KEY_FILE": str(tmp_path / "key")}
    assert run("jobs", **ours).returncode == 0
    assert "Kim's laptop" in run("keys", "list", **ours).stdout
    assert run("keys", "revoke", number, **admin).returncode == 0
    until = time.monotonic() + PATIENCE
    while (done := run("ingest", str(tmp_path / "key"), **ours)).returncode == 0:
        assert time.monotonic() < until
    assert "revoked" in done.stderr and key not in done.stderr
    assert run("keys", "revoke", "999", **admin).returncode == 1


def test_a_store_that_refuses_us_is_a_sentence_without_the_secret(scratch: Path, proxy: Proxy) -> None:
    wrong = {"DATADISTILLER_OBJECTS_URL": "s3://some-bucket", "DATADISTILLER_S3_ENDPOINT": proxy.url,
             "DATADISTILLER_S3_ACCESS_KEY": USER, "DATADISTILLER_S3_SECRET_KEY": "hunter2-of-the-bucket"}  # fmt: skip
    done = run("up", "--data-dir", str(scratch / "third"), "--port", "0", **wrong)
    assert done.returncode == 1
    assert "refuses the access key" in done.stderr and "DATADISTILLER_S3_SECRET_KEY" in done.stderr
    logs = "".join(path.read_text() for path in (scratch / "third" / "logs").iterdir())
    assert "hunter2" not in done.stdout + done.stderr + logs


def test_a_database_that_is_away_is_named_without_its_password(scratch: Path) -> None:
    url = f"postgresql://me:{DATABASE_PASSWORD}@127.0.0.1:1/db"
    given = environment(**files(scratch, database_url=url))
    argv = [sys.executable, "-m", "datadistiller", "serve", "--roles", "embed"]
    with (scratch / "serve.log").open("wb") as out:
        process = subprocess.Popen(argv, env=given, stdout=out, stderr=out)
    until = time.monotonic() + PATIENCE
    while "waiting_for_database" not in (said := (scratch / "serve.log").read_text()):
        assert process.poll() is None and time.monotonic() < until, said
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert DATABASE_PASSWORD not in (scratch / "serve.log").read_text()
