"""The few calls of S3 that obstore does not have: make a bucket, give up unfinished uploads, and links to objects."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree

from datadistiller.objects import signature
from datadistiller.objects.s3_errors import Refused

#: How long the permission of one call lasts, seconds.
_CALL_SECONDS = 300
#: Regions are named in the call that makes a bucket, but not this one.
_DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the objects are, and who asks for them."""

    name: str
    prefix: str  # before every key; empty, or ending in '/'
    endpoint: str  # http(s)://host[:port]
    link_endpoint: str  # the same as clients see it
    region: str
    credentials: signature.Credentials | None  # None: obstore finds those of a role
    seconds: float  # silence of the server after which it counts as down

    def path(self, key: str) -> str:
        """The path of an object."""
        return f"/{self.name}/{self.prefix}{key}"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A multipart upload that was begun and neither completed nor aborted. ``key`` is without the bucket's prefix."""

    key: str
    upload_id: str
    begun: datetime


class Calls:
    """Calls on one bucket, by our own signature. Blocking; for threads. Raise ``Refused`` and OSError."""

    def __init__(self, bucket: Bucket, credentials: signature.Credentials) -> None:
        self._bucket = bucket
        self._credentials = credentials

    def link(self, key: str, seconds: int, headers: Mapping[str, str]) -> str:
        """A URL that gives the object, with these headers, to whoever has it."""
        wanted = {f"response-{name.lower()}": value for name, value in headers.items()}
        return self._signed("GET", self._bucket.link_endpoint, self._bucket.path(key), wanted, seconds)

    def create(self) -> None:
        """Makes the bucket; one that is ours already is a success."""
        region = self._bucket.region
        body = (
            f"<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
        )
        try:
            self._call("PUT", f"/{self._bucket.name}", {}, body if region != _DEFAULT_REGION else "")
        except Refused as error:
            if error.code != "BucketAlreadyOwnedByYou":
                raise

    def unfinished(self) -> Iterator[Unfinished]:
        """All unfinished uploads below the bucket's prefix.

        The prefix is not left to the server: MinIO (2026) lists by an exact key, or everything.
        """
        query = {"uploads": ""}
        while True:
            page = ElementTree.fromstring(self._call("GET", f"/{self._bucket.name}", query))
            for upload in page.findall("{*}Upload"):
                found = {child.tag.rpartition("}")[2]: child.text or "" for child in upload}
                if found["Key"].startswith(self._bucket.prefix):
                    key = found["Key"].removeprefix(self._bucket.prefix)
                    yield Unfinished(key, found["UploadId"], datetime.fromisoformat(found["Initiated"]))
            if page.findtext("{*}IsTruncated") != "true":
                return
            query["key-marker"] = page.findtext("{*}NextKeyMarker") or ""
            query["upload-id-marker"] = page.findtext("{*}NextUploadIdMarker") or ""

    def abort(self, upload: Unfinished) -> None:
        """Gives an upload up; one that is gone is a success."""
        try:
            self._call("DELETE", self._bucket.path(upload.key), {"uploadId": upload.upload_id})
        except Refused as error:
            if error.code != "NoSuchUpload":
                raise

    def _call(self, method: str, path: str, query: Mapping[str, str], body: str = "") -> bytes:
        url = self._signed(method, self._bucket.endpoint, path, query, _CALL_SECONDS)
        request = urllib.request.Request(url, method=method, data=body.encode() or None)
        try:
            with urllib.request.urlopen(request, timeout=self._bucket.seconds) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, error.read().decode(errors="replace")) from None

    def _signed(self, method: str, endpoint: str, path: str, query: Mapping[str, str], seconds: int) -> str:
        return signature.presigned(
            method,
            endpoint,
            path,
            query,
            self._credentials,
            region=self._bucket.region,
            seconds=seconds,
            now=datetime.now(UTC),
        )
