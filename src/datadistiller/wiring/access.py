"""Before the API listens: if it will ask for keys, there must be one that opens it."""

from __future__ import annotations

import re

from datadistiller import errors
from datadistiller.settings import Settings
from datadistiller.store.api_keys import ApiKeys
from datadistiller.store.database import Database

#: What a Bearer token may be made of (RFC 6750, 2.1), and not too short to be guessed.
_BOOTSTRAP = re.compile(r"[A-Za-z0-9._~+/-]{32,500}=*")


async def check_access(settings: Settings, database: Database) -> None:
    """Raises SetupError if nobody could call the API, or anybody could guess the way in."""
    bootstrap = settings.bootstrap_key.get_secret_value()
    if bootstrap and not _BOOTSTRAP.fullmatch(bootstrap):
        raise errors.SetupError(
            "The bootstrap key must have at least 32 letters, digits or characters of '._~+/-'.",
            hint="Make one with 'openssl rand -hex 32', and put it into DATADISTILLER_BOOTSTRAP_KEY_FILE.",
        )
    if bootstrap or not settings.key_required or await ApiKeys(database).any():
        return
    why = "it is always to ask" if settings.require_key == "always" else f"it is to listen on {settings.host}"
    raise errors.SetupError(
        f"DataDistiller needs an API key, since {why}, and there is none yet.",
        hint="Make one while it listens on this machine only ('datadistiller keys create NAME'), or set "
        "DATADISTILLER_BOOTSTRAP_KEY_FILE.",
    )
