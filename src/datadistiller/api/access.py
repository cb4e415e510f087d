"""Who may call: ``Authorization: Bearer KEY`` (RFC 6750), where a key is needed at all."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from datadistiller import errors
from datadistiller.api import problems
from datadistiller.store.api_keys import ApiKeys, digest

#: What says nothing about documents and users: the probes of orchestrators, and the API's own documentation.
OPEN = frozenset({"/livez", "/readyz", "/", "/docs", "/redoc", "/docs/oauth2-redirect", "/openapi.json"})
OPEN_FOLDER = "/static-offline-docs/"
METRICS = "/metrics"

#: How long the database's word on a key is believed, seconds: so long a revoked key may still be good on some node.
BELIEVED_SECONDS = 5.0
#: Keys remembered, good and bad ones apart: whoever tries many cannot make the server forget the good.
REMEMBERED = 1000
#: Questions to the database at once: a flood of wrong keys must leave connections to those who have one.
LOOKUPS = 2
#: Longer ones are not looked at.
MAX_KEY_CHARS = 512
#: In the key's place in logs, where the bootstrap key was used.
BOOTSTRAP_ID = 0


class Keyring:
    """Says whose key a key is."""

    def __init__(self, keys: ApiKeys, bootstrap: str) -> None:
        self._keys = keys
        self._bootstrap = digest(bootstrap) if bootstrap else b""
        self._good = _Memory()
        self._bad = _Memory()
        self._asking = asyncio.Semaphore(LOOKUPS)

    async def id_of(self, key: str) -> int:
        """The key's number. Raises KeyInvalid, and Unavailable if the database cannot be asked."""
        hashed = digest(key)
        # Digests are compared, in constant time: how long it takes says nothing about the key.
        if self._bootstrap and hmac.compare_digest(hashed, self._bootstrap):
            return BOOTSTRAP_ID
        found = self._remembered(hashed)
        if found is None:
            async with self._asking:
                found = self._remembered(hashed) or await self._ask(hashed)
        return found

    def _remembered(self, hashed: bytes) -> int | None:
        if self._bad.get(hashed) is not None:
            raise errors.KeyInvalid
        return self._good.get(hashed)

    async def _ask(self, hashed: bytes) -> int:
        found = await self._keys.use(hashed)
        (self._bad if found is None else self._good).put(hashed, found or 0)
        if found is None:
            raise errors.KeyInvalid
        return found


class _Memory:
    """What was said of the last so many digests, for so long."""

    def __init__(self) -> None:
        self._said: OrderedDict[bytes, tuple[float, int]] = OrderedDict()

    def get(self, hashed: bytes) -> int | None:
        """What was said; None if that was too long ago, or never."""
        until, value = self._said.get(hashed, (0.0, 0))
        return value if time.monotonic() < until else None

    def put(self, hashed: bytes, value: int) -> None:
        """Remembers it; the oldest is forgotten for it if need be."""
        self._said.pop(hashed, None)
        self._said[hashed] = (time.monotonic() + BELIEVED_SECONDS, value)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)


class KeyRequired:
    """Lets through what is open to everybody, and requests with a good key."""

    def __init__(self, app: ASGIApp, keyring: Keyring, metrics_public: bool) -> None:
        self._app = app
        self._keyring = keyring
        self._metrics_public = metrics_public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and not is_open(scope["path"], self._metrics_public):
            try:
                scope["key_id"] = await self._keyring.id_of(_key(Headers(scope=scope)))
            except (errors.Unauthorized, errors.Unavailable) as error:
                await problems.of_error(Request(scope), error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_open(path: str, metrics_public: bool) -> bool:
    """Whether a path needs no key."""
    return path in OPEN or path.startswith(OPEN_FOLDER) or (metrics_public and path == METRICS)


def _key(headers: Headers) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise errors.KeyRequired
    if len(key) > MAX_KEY_CHARS:
        raise errors.KeyInvalid
    return key.strip()
