"""API keys: who may call the HTTP API beyond this machine.

A key is 256 random bits; of it the database keeps a plain SHA-256. A slow, salted hash is for passwords, which people
choose and attackers guess: for secrets of at least 112 random bits an approved hash function is enough (NIST SP
800-63B, 5.1.2.2), and a slow one would let anybody burn our CPU with wrong keys.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from datadistiller import errors
from datadistiller.store.database import Database
from datadistiller.store.statements import Statements

#: Every key begins like this: people and secret scanners see what it is.
MARK = "dd_"
_SHOWN_CHARS = len(MARK) + 6


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is shown: everything but the key."""

    key_id: int
    name: str
    prefix: str
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class ApiKeys:
    """Rows of ``api_keys``."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._sql = Statements("api_keys")

    async def create(self, name: str) -> tuple[ApiKey, str]:
        """A new key: what is known of it, and the key itself, which nobody can see again.

        Raises ``errors.InvalidRequest`` for a name that cannot be stored.
        """
        key = MARK + secrets.token_urlsafe(32)
        values = {"name": name, "prefix": key[:_SHOWN_CHARS], "hash": digest(key)}
        try:
            async with self._db.connection() as conn:
                row = await (await conn.execute(self._sql["create"], values)).fetchone()
        except errors.BrokenInvariant as error:
            raise errors.InvalidRequest("The name holds a character that cannot be stored.") from error
        assert row is not None
        return ApiKey(**row), key

    async def list(self) -> list[ApiKey]:
        """All keys, newest first, revoked ones too."""
        async with self._db.connection() as conn:
            rows = await (await conn.execute(self._sql["list"])).fetchall()
        return [ApiKey(**row) for row in rows]

    async def revoke(self, key_id: int) -> None:
        """Refuses the key from now on; ``errors.KeyNotFound`` if there is none."""
        async with self._db.connection() as conn:
            row = await (await conn.execute(self._sql["revoke"], {"key_id": key_id})).fetchone()
        if row is None:
            raise errors.KeyNotFound(f"There is no API key {key_id}.")

    async def use(self, hashed: bytes) -> int | None:
        """The number of the key with this digest, and a note that it was used; None if it is not good."""
        async with self._db.transaction(durable=False) as conn:
            row = await (await conn.execute(self._sql["use"], {"hash": hashed})).fetchone()
        return int(row["key_id"]) if row else None

    async def any(self) -> bool:
        """Whether there is a good key at all."""
        async with self._db.connection() as conn:
            row = await (await conn.execute(self._sql["any"])).fetchone()
        return bool(row and row["found"])


def digest(key: str) -> bytes:
    """What is kept of a key, and compared."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
