"""Which document a file of this machine became, so that the changed file becomes a new version of that document.

Kept here and not on the server: a path means something on this machine only, and is nobody else's business. One small
file per server and collection, in ``$XDG_STATE_HOME/datadistiller`` (``~/.local/state/datadistiller``).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Records:
    """What is known of one collection on one server. A record that is lost costs new documents instead of versions."""

    def __init__(self, url: str, collection: str) -> None:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        name = hashlib.sha256(f"{url} {collection}".encode()).hexdigest()[:16]
        self._file = state / "datadistiller" / f"ingested-{name}.json"
        self._lock = threading.Lock()
        self._changed: dict[str, Any] = {}
        self._known = _read(self._file)

    def document_of(self, path: Path) -> str | None:
        """The document that this file made, and that stands for no other file we know of."""
        with self._lock:
            return self._own(str(path.absolute()))

    def note(self, path: Path, job: str, *, duplicate: bool) -> None:
        """The file is this document now. One that was there before it is somebody else's too."""
        key = str(path.absolute())
        with self._lock:
            before = self._known.get(key)
            ours = not duplicate or (before is not None and before["job"] == job and bool(before["ours"]))
            self._set(key, {"job": job, "ours": ours})
            if before and before["ours"] and before["job"] != job:  # who has the document before alone may change it
                for other in [k for k, known in self._known.items() if known["job"] == before["job"]][:1]:
                    self._set(other, {**before})

    def removed(self, folders: Iterable[Path]) -> list[tuple[Path, str | None]]:
        """Files in these folders that are not there any more, with the document that was theirs alone.

        Of a folder that is away or empty nothing is said: it may be a disk that is not mounted.
        """
        there = [folder.absolute() for folder in folders if folder.is_dir() and any(folder.iterdir())]
        with self._lock:
            gone = [key for key in self._known if not os.path.lexists(key)]
            return [(Path(k), self._own(k)) for k in gone if any(Path(k).is_relative_to(f) for f in there)]

    def forget(self, path: Path) -> None:
        """The file is no document any more."""
        with self._lock:
            self._set(str(path.absolute()), None)

    def save(self) -> None:
        """Writes what changed; what others wrote meanwhile stays. Raises OSError."""
        with self._lock:
            if not self._changed:
                return
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.with_suffix(".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = {k: v for k, v in {**_read(self._file), **self._changed}.items() if v is not None}
                fresh = self._file.with_suffix(".new")
                fresh.write_text(json.dumps(known))
                fresh.replace(self._file)
            self._changed = {}

    def _own(self, key: str) -> str | None:
        known = self._known.get(key)
        if known is None or not known["ours"]:
            return None
        shared = any(other["job"] == known["job"] for k, other in self._known.items() if k != key)
        return None if shared else str(known["job"])

    def _set(self, key: str, value: dict[str, Any] | None) -> None:
        self._changed[key] = value
        if value is None:
            self._known.pop(key, None)
        else:
            self._known[key] = value


def _read(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text())
        return {key: {"job": str(value["job"]), "ours": bool(value["ours"])} for key, value in known.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
