"""URLs that carry their own permission: AWS Signature Version 4, in the query ("presigned").

AWS, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)". obstore signs only for a path; the
parameters of a call, and the headers an answer shall have, must be signed with it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks. ``session_token`` comes with temporary credentials."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


def presigned(
    method: str,
    endpoint: str,
    path: str,
    query: Mapping[str, str],
    credentials: Credentials,
    *,
    region: str,
    seconds: int,
    now: datetime,
) -> str:
    """The URL of a call; good for ``seconds`` from ``now`` (aware, UTC). ``path`` begins with ``/``, as plain text."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    signed = {
        **query,
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.session_token:
        signed["X-Amz-Security-Token"] = credentials.session_token
    place = quote(path, safe="/-_.~")
    parameters = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(signed.items()))
    host = f"host:{urlsplit(endpoint).netloc}\n"
    request = "\n".join((method, place, parameters, host, "host", "UNSIGNED-PAYLOAD"))
    text = "\n".join((_ALGORITHM, stamp, scope, sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{endpoint}{place}?{parameters}&X-Amz-Signature={hmac.digest(key, text.encode(), 'sha256').hex()}"


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
