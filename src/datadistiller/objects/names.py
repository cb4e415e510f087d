"""What objects are called: ``uploads/{job_id}/{safe name}``, and one folder deeper for later versions."""

from __future__ import annotations

import re
import unicodedata
from uuid import UUID, uuid4

UPLOADS = "uploads/"
#: Below the 255 bytes file systems allow, with room for what tools append.
MAX_NAME_BYTES = 200
MAX_EXTENSION_BYTES = 20

#: Names Windows keeps for devices, with or without an extension.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def object_key(job_id: UUID, filename: str) -> str:
    """Where the upload of a job lies."""
    return f"{UPLOADS}{job_id}/{safe_filename(filename)}"


def version_key(job_id: UUID, filename: str) -> str:
    """Where a later version of a job's document lies; never the same twice."""
    return f"{UPLOADS}{job_id}/{uuid4().hex}/{safe_filename(filename)}"


def job_prefix(job_id: UUID) -> str:
    """What all objects of a job start with."""
    return f"{UPLOADS}{job_id}/"


def safe_filename(name: str) -> str:
    """A name that is harmless on every file system and in every store, and still tells a person what it is.

    No folders, at most 200 bytes of UTF-8 with the extension kept, letters and digits of any script,
    ``. - _`` and spaces; everything else becomes ``_``. Never empty, never a Windows device name.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(c if c.isalnum() or c in ".-_ " else "_" for c in last)
    kept = re.sub(r"__+", "_", kept).strip(". ")
    stem, dot, extension = kept.rpartition(".")
    if not dot or len(extension.encode()) > MAX_EXTENSION_BYTES:
        stem, dot, extension = kept, "", ""
    room = MAX_NAME_BYTES - len((dot + extension).encode())
    stem = stem.encode()[:room].decode(errors="ignore").rstrip(". ")
    safe = f"{stem or 'document'}{dot}{extension}"
    return f"_{safe}" if _DEVICE.fullmatch(safe) else safe
