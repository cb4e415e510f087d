"""What must hold before ``up`` starts anything: a loopback address, a free port, a folder of its own, room on the disk.

Each check raises ``errors.SetupError`` with one sentence and what to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from datadistiller import errors

_OTHER_FOLDER = "Choose another folder with --data-dir (make up DATA_DIR=...)."


def check_host(host: str) -> None:
    """Only loopback, until the API knows who is asking."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise errors.SetupError(
            f"DataDistiller does not listen on {host}: it has no authentication yet.",
            hint="Use --host 127.0.0.1 and put a proxy that authenticates in front of it.",
        )


def free_port(host: str, port: int) -> int:
    """The port, if nobody listens on it; for 0 one that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise errors.SetupError(
                f"Port {port} of {host} cannot be used ({error.strerror}).",
                hint="Stop what uses it, or choose another with --port (make up PORT=...).",
            ) from error
        return int(probe.getsockname()[1])


def url_of(host: str, port: int) -> str:
    """Where clients on this machine find the server."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def locked(folder: Path, bytes_needed: int) -> Iterator[None]:
    """Holds the data folder for this process alone; it is created if it is not there."""
    if folder.exists() and not folder.is_dir():
        raise errors.SetupError(f"The data folder {folder} is not a folder.", hint=_OTHER_FOLDER)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(0, "Permission denied")
        lock = (folder / "lock").open("a+")
    except OSError as error:
        reason = f"The data folder {folder} cannot be written ({error.strerror})."
        raise errors.SetupError(reason, hint=_OTHER_FOLDER) from error
    with lock:
        _take(lock, folder)
        _check_disk(folder, bytes_needed)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def holder(folder: Path) -> int | None:
    """The process that holds the data folder, None if nobody does (0 if it did not say who it is)."""
    try:
        with (folder / "lock").open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = lock.read().strip()
                return int(text) if text.isdecimal() else 0
    except OSError:
        return None
    return None


def _take(lock: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        raise errors.SetupError(
            f"Another DataDistiller (process {lock.read().strip() or 'unknown'}) uses the data folder {folder}.",
            hint=f"Stop it with Ctrl-C where it runs. {_OTHER_FOLDER}",
        ) from error
    except OSError as error:
        raise errors.SetupError(
            f"The data folder {folder} cannot be locked ({error.strerror}).", hint=_OTHER_FOLDER
        ) from error


def _check_disk(folder: Path, bytes_needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < bytes_needed:
        raise errors.SetupError(
            f"The disk of {folder} is full: {free // 10**6} MB are free, {bytes_needed // 10**6} MB are needed.",
            hint=f"Free some space. {_OTHER_FOLDER}",
        )
