"""What JSON values and names must fulfil before they meet PostgreSQL."""

from __future__ import annotations

import math
import re

from datadistiller import errors
from datadistiller.api import schemas

MAX_DEPTH = 16


def collection(name: str) -> str:
    """The name, if it is one of a collection; else InvalidRequest."""
    if not re.fullmatch(schemas.COLLECTION_PATTERN, name) or name.endswith("\n"):
        raise errors.InvalidRequest(schemas.COLLECTION_RULE)
    return name


def password(given: str) -> str | None:
    """The password, None if there is none; else InvalidRequest, which does not repeat it."""
    if len(given) > schemas.MOST_PASSWORD_CHARS:
        raise errors.InvalidRequest(f"password is longer than {schemas.MOST_PASSWORD_CHARS} characters.")
    storable(given, "password")
    return given or None


def storable(value: object, name: str) -> None:
    """Raises InvalidRequest unless jsonb can hold the value: depth, NUL, lone surrogates, numbers without end."""
    _check(value, name, 1)


def _check(value: object, name: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise errors.InvalidRequest(f"{name} is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, name, depth)
            _check(item, name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, name, depth + 1)
    elif isinstance(value, str) and ("\0" in value or any("\ud800" <= c <= "\udfff" for c in value)):
        raise errors.InvalidRequest(f"{name} holds a character that cannot be stored (NUL or half a surrogate pair).")
    elif isinstance(value, float) and not math.isfinite(value):
        raise errors.InvalidRequest(f"{name} holds a number that JSON does not know (NaN or too large).")
