"""What the servers that run on Java have in common."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.services import programs
from tools.services.programs import ServiceError

#: log4j2.properties: everything to standard error: a server's is its log, and a tool's is not its answer.
LOGGING = """\
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}] %p %m (%c{1})%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


def program(wanted_by: str, oldest: int, newest: int | None = None) -> Path:
    """The path of a Java of one of these versions."""
    path = programs.find("java", wanted_by)
    done = subprocess.run([path, "-version"], capture_output=True, check=False, text=True)
    match = re.search(r'version "(\d+)', done.stderr)
    version = int(match.group(1)) if match else 0
    if version < oldest or (newest is not None and version > newest):
        wanted = f"{oldest} to {newest}" if newest else f"{oldest} or newer"
        raise ServiceError(f"{wanted_by} needs Java {wanted}, but {path} is {version or 'unknown'}: set JAVA_HOME.")
    # Not a link of the user's: the server may run as another account.
    return Path(path).resolve()
