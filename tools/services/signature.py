"""The signature of a plain S3 request (AWS Signature Version 4): no query, one chunk."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, urlsplit


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks."""

    user: str
    password: str
    region: str


def signed(method: str, endpoint: str, path: str, content: bytes, credentials: Credentials) -> dict[str, str]:
    """The headers to send."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = sha256(content).hexdigest()
    headers = {"host": urlsplit(endpoint).netloc, "x-amz-content-sha256": digest, "x-amz-date": now}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = "\n".join((method, quote(path), "", lines, names, digest))
    scope = f"{now[:8]}/{credentials.region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", now, scope, sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.password}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.user}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return {**headers, "authorization": authorization}
