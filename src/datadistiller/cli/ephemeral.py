"""A ``datadistiller up`` of its own, for a command that needs a server and finds none: temporary folder, free port."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from datadistiller import errors

READY_SECONDS = 120
STOP_SECONDS = 60
#: Whatever the settings say: it must not clear away what another system keeps in theirs.
OWN_STORES = {
    "DATADISTILLER_DATABASE_URL": "embedded:",
    "DATADISTILLER_OBJECTS_URL": "",
    "DATADISTILLER_QUEUE_URL": "postgresql:",
    "DATADISTILLER_INDEX_URL": "local:",
}


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The URL of a fresh server; it is stopped and its folder removed at the end.

    Raises ``errors.SetupError`` with the last line of its log if it does not become ready.
    """
    folder = Path(tempfile.mkdtemp(prefix="datadistiller-"))
    folder.chmod(0o755)  # the database may run as another user
    log = folder / "up.log"
    port = _free_port()
    argv = [sys.executable, "-m", "datadistiller", "up", "--data-dir", str(folder / "data"), "--port", str(port)]
    reachable = {"DATADISTILLER_HOST": "127.0.0.1", "DATADISTILLER_REQUIRE_KEY": "auto"}
    environment = {**os.environ, **reachable, **OWN_STORES, "DATADISTILLER_NO_SAMPLES": "1"}
    try:
        with log.open("wb") as out:
            # A session of its own: Ctrl-C is for this command, which then stops the server itself.
            process = subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, process, log)
            yield url
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_ready(url: str) -> bool:
    """Whether a DataDistiller server answers there and is ready."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_SECONDS
    while not is_ready(url):
        if process.poll() is not None or time.monotonic() > until:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise errors.SetupError(f"A temporary server did not start: {lines[-1] if lines else 'it said nothing'}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Asks it to stop, as Ctrl-C does; kills its process group if it does not."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
