"""Log files of child processes that cannot grow without bound."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: A log file is turned over above this size; the last one is kept beside it.
MAX_BYTES = 10_000_000


class LogFiles:
    """A folder with one log file per process, and one older one (``name.log.1``).

    Children write to the file themselves, so they can go on logging when the supervisor dies. It is opened for
    appending; therefore it can be copied and cut while they write. Lines written between the two are lost.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder
        self._max_bytes = max_bytes

    def path(self, name: str) -> Path:
        """The log file of a process."""
        return self.folder / f"{name}.log"

    def open(self, name: str) -> int:
        """A file descriptor to append to; the caller closes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def turn_over(self) -> None:
        """Cuts the files that are too large. Blocks for the time of a copy."""
        for path in self.folder.glob("*.log"):
            if path.stat().st_size > self._max_bytes:
                shutil.copyfile(path, path.with_suffix(".log.1"))
                os.truncate(path, 0)
