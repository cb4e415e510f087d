"""The settings of a command: wrong ones become a sentence, secrets are masked."""

from __future__ import annotations

import os
import tomllib
from typing import Any

import pydantic

from datadistiller import errors
from datadistiller.settings import Settings, config_file, variable


def load(**given: Any) -> Settings:
    """The settings, with what the command line gives (None: not given) above all else. Raises ``errors.SetupError``."""
    if os.environ.get("DATADISTILLER_CONFIG") and not config_file().is_file():
        raise errors.SetupError(
            f"There is no settings file {config_file()}.", hint="DATADISTILLER_CONFIG names it: correct or unset that."
        )
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except pydantic.ValidationError as error:
        # The value itself is not shown: it may be a password in the wrong variable.
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0])
        raise errors.SetupError(
            f"The setting {name} is not valid: {first['msg']}.",
            hint=f"Change {variable(name)}, or '{name}' in {config_file()}, or the option.",
        ) from None
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise errors.SetupError(
            f"The settings file {config_file()} cannot be read: {error}.", hint="Mend it, or move it away."
        ) from None


def masked(name: str, value: str) -> str:
    """The value of a setting as it may be shown: without a password that a URL may hold. Secrets come masked."""
    if name.endswith("_url") and "://" in value and "@" in value:
        scheme, rest = value.split("://", 1)
        user, host = rest.rsplit("@", 1)
        return f"{scheme}://{user.split(':')[0]}:***@{host}" if ":" in user else value
    return value
