"""What a dead letter keeps of an exception: its type and where it was raised, never a value."""

from __future__ import annotations

import datetime
import traceback
from pathlib import Path

from datadistiller import errors

_PACKAGE = Path(__file__).parent.parent.parent
_MOST = 20


def of(error: BaseException) -> list[str]:
    """``file:line function`` from the outermost to the innermost frame, of the error and then of its cause."""
    cause = error.__cause__ or error
    frames = traceback.extract_tb(cause.__traceback__)[-_MOST:]
    return [f"{_relative(f.filename)}:{f.lineno} {f.name}" for f in frames]


def type_of(error: BaseException) -> str:
    """The class of the error, and of its cause if it has one."""
    cause = error.__cause__
    return type(error).__name__ if cause is None else f"{type(error).__name__} from {type(cause).__name__}"


def entry(error: errors.DataDistillerError) -> dict[str, str]:
    """One line of a message's history."""
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return {"at": at, "what": error.code, "message": error.message}


def _relative(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(_PACKAGE)) if path.is_relative_to(_PACKAGE) else path.name
