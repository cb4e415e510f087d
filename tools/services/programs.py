"""The programs of this machine that installing and running servers needs: java, mvn, go."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL_LINES = 15


class ServiceError(Exception):
    """A server cannot be installed or started. The message is one sentence, sometimes with the tail of a log."""


_REMEDY = {
    "java": "install a Java runtime, 17 or newer (Debian: openjdk-17-jre-headless)",
    "mvn": "install Apache Maven (Debian: maven)",
    "go": "install Go 1.24 or newer",
}


def find(program: str, wanted_by: str) -> str:
    """The program's path. ``ServiceError`` says who wants it and how to get it."""
    home = os.environ.get("JAVA_HOME") if program == "java" else None
    found = shutil.which(f"{home}/bin/java") if home else None
    found = found or shutil.which(program)
    if found is None:
        raise ServiceError(f"{wanted_by} needs '{program}', which is not on the PATH: {_REMEDY[program]}.")
    return found


def run(argv: Sequence[str], folder: Path, doing: str, env: Mapping[str, str] | None = None) -> None:
    """Runs a program in a folder. ``ServiceError`` has the end of what it wrote."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        argv, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode != 0:
        output = done.stdout.decode(errors="replace")
        raise ServiceError(f"{doing} failed: {Path(argv[0]).name} ended with {done.returncode}.\n{last_lines(output)}")


def last_lines(text: str, count: int = TAIL_LINES) -> str:
    """The end of a log."""
    return "\n".join(text.rstrip().splitlines()[-count:])


def tail(log: Path, count: int = TAIL_LINES) -> str:
    """The end of a log file, '' if there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 500 * count))
        return last_lines(file.read().decode(errors="replace"), count)
