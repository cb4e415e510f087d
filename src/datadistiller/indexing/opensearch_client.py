"""Speaks HTTP with an OpenSearch cluster: hosts, credentials, and the translation of its errors.

The dozen calls that are needed do not want a client library: httpx is here anyway.
"""

from __future__ import annotations

import json
import random
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from datadistiller import errors

SCHEMES = {"opensearch": "http", "opensearch+https": "https"}
PORT = 9200
#: Seconds: to connect, and to wait for an answer where the caller does not say.
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 10.0
#: What indexes and aliases are called before the dash, unless the URL says otherwise.
PREFIX = "datadistiller"

_OLDEST = (2, 17)
_HINT = "Set DATADISTILLER_INDEX_URL to opensearch://host:9200 or opensearch+https://host:9200, hosts with commas."
_LINES = {"Content-Type": "application/x-ndjson"}
_JSON = {"Content-Type": "application/json"}


class Refused(errors.Unavailable):
    """OpenSearch answered with an error. ``kind`` is its type; its reason may quote a document and is dropped."""

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(f"OpenSearch refused a request of the search index: {status} {kind}.")
        self.status = status
        self.kind = kind


class Unauthorized(errors.Unavailable):
    """OpenSearch does not accept the user or the password, or does not allow the user what we need."""

    default_hint = "Set DATADISTILLER_OPENSEARCH_USER and DATADISTILLER_OPENSEARCH_PASSWORD."


class Untrusted(errors.Unavailable):
    """The certificate of OpenSearch is not trusted."""

    default_hint = "Name the file with its authority's certificate in DATADISTILLER_OPENSEARCH_CA_FILE."


@dataclass(frozen=True, slots=True)
class Access:
    """Where a cluster is, how to get in, and the prefix of what is ours there."""

    hosts: Sequence[str]  # http://host:port
    prefix: str = PREFIX
    user: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None

    @classmethod
    def parse(cls, url: str, user: str = "", password: str = "", ca_file: Path | None = None) -> Access:
        """Reads ``opensearch[+https]://host[:port][,host[:port]...][/prefix]``; ``errors.SetupError`` if it is not."""
        scheme, _, rest = url.partition("://")
        names, _, prefix = rest.partition("/")
        if "@" in names:
            raise errors.SetupError(
                "The URL of the search index holds a user or password.",
                hint="Set DATADISTILLER_OPENSEARCH_USER and DATADISTILLER_OPENSEARCH_PASSWORD instead.",
            )
        try:
            hosts = [_host(SCHEMES[scheme], name) for name in names.split(",")]
            ours = prefix.strip("/") or PREFIX
            if not ours.replace("-", "").replace("_", "").isalnum() or ours != ours.lower() or ours[0] in "-_":
                raise ValueError
        except (KeyError, ValueError):
            raise errors.SetupError("The URL of the search index cannot be read.", hint=_HINT) from None
        return cls(hosts, ours, user, password, ca_file)


class Client:
    """Calls one cluster. A host that does not answer is passed over; a request that was sent is not sent again."""

    def __init__(self, access: Access) -> None:
        """Raises ``errors.SetupError`` if the file of certificates cannot be used."""
        self.access = access
        self._hosts = deque(random.sample(access.hosts, len(access.hosts)))  # so that processes share the hosts
        self._target = " or ".join(host.split("://")[1] for host in access.hosts)
        self._http = httpx.AsyncClient(
            auth=(access.user, access.password) if access.user else None,
            verify=_certificates(access.ca_file) if access.ca_file else True,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,  # a proxy for the world outside must not see what is in here
        )

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        parameters: Mapping[str, str] | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> Any:
        """The decoded answer to a request; a body of ``bytes`` is lines of JSON.

        Raises ``Refused``, ``errors.CapacityError`` for 429, and ``errors.Unavailable`` if nobody answers in time.
        """
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = _LINES if isinstance(body, bytes) else _JSON
        limit = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        async with self._translated():
            answer = await self._send(method, path, content=content, headers=headers, timeout=limit, params=parameters)
            decoded = answer.json() if answer.content else {}
        if answer.is_success:
            return decoded
        raise _refusal(answer.status_code, decoded)

    async def check(self) -> None:
        """Raises ``errors.SetupError`` if the cluster answers and can never serve as configured."""
        try:
            answer = await self.call("GET", "/")
        except (Untrusted, Unauthorized) as error:
            raise errors.SetupError(error.message, hint=error.hint) from error
        except errors.Unavailable:
            return  # it may be starting: whoever needs it waits for it
        known = str(answer.get("version", {}).get("number", "0.0"))
        if tuple(int(part) for part in known.split(".")[:2] if part.isdigit()) < _OLDEST:
            raise errors.SetupError(
                f"The search index needs OpenSearch {'.'.join(map(str, _OLDEST))} or newer, and this is {known[:20]}.",
                hint="Update OpenSearch, or name another server in DATADISTILLER_INDEX_URL.",
            )

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Asks the hosts one after the other; one that cannot be reached is asked last from then on."""
        for left in reversed(range(len(self._hosts))):
            host = self._hosts[0]
            try:
                return await self._http.request(method, host + path, **request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if self._hosts[0] == host:  # nobody else has moved it meanwhile
                    self._hosts.rotate(-1)
                if not left:
                    raise
        raise errors.BrokenInvariant("The search index has no host.")

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        """Turns httpx's errors into ours."""
        try:
            yield
        except httpx.ConnectError as error:
            if isinstance(_root(error), ssl.SSLCertVerificationError):
                raise Untrusted(f"The certificate of OpenSearch at {self._target} is not trusted.") from error
            raise self._silent(error) from error
        except (httpx.HTTPError, ValueError) as error:  # ValueError: what answers does not speak JSON
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> errors.Unavailable:
        return errors.Unavailable(f"OpenSearch at {self._target} does not answer ({type(error).__name__}).")


def _host(scheme: str, name: str) -> str:
    parts = urlsplit(f"//{name.strip()}")
    if not parts.hostname:
        raise ValueError(name)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}:{parts.port or PORT}"


def _certificates(file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(file))
    except (OSError, ssl.SSLError) as error:
        raise errors.SetupError(
            f"The certificates of OpenSearch in {file} cannot be read.",
            hint="Set DATADISTILLER_OPENSEARCH_CA_FILE to a file in PEM form.",
        ) from error


def _root(error: BaseException) -> BaseException:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return error


def _refusal(status: int, decoded: Any) -> errors.DataDistillerError:
    reason = decoded.get("error") if isinstance(decoded, dict) else None
    kind = str(reason.get("type", "")) if isinstance(reason, dict) else ""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return errors.CapacityError("OpenSearch has more to do than it can take.", retry_after=1.0)
    if status == HTTPStatus.UNAUTHORIZED or kind == "security_exception":
        return Unauthorized()
    return Refused(status, kind or HTTPStatus(status).phrase)
