"""Which bucket of which S3 server the settings mean, and who asks: our settings, else the variables of AWS's tools."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from datadistiller import errors
from datadistiller.objects.s3_calls import Bucket
from datadistiller.objects.signature import Credentials
from datadistiller.settings import Settings

DEFAULT_BUCKET = "datadistiller-docs"
DEFAULT_REGION = "us-east-1"


def bucket_of(settings: Settings) -> Bucket:
    """The bucket. Raises SetupError for settings that do not fit together."""
    parts = urlsplit(settings.objects)
    prefix = parts.path.strip("/")
    region = settings.s3_region or _variable("AWS_REGION", "AWS_DEFAULT_REGION") or DEFAULT_REGION
    named = settings.s3_endpoint or _variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    endpoint = _address("S3_ENDPOINT", named or f"https://s3.{region}.amazonaws.com")
    credentials = _credentials(settings)
    if settings.presigned_seconds and credentials is None:
        raise errors.SetupError(
            "Links to files in S3 need an access key; that of a role cannot sign them.",
            hint="Set DATADISTILLER_S3_ACCESS_KEY and its secret, or DATADISTILLER_PRESIGNED_SECONDS=0.",
        )
    return Bucket(
        name=parts.hostname or DEFAULT_BUCKET,
        prefix=f"{prefix}/" if prefix else "",
        endpoint=endpoint,
        link_endpoint=_address("S3_PUBLIC_ENDPOINT", settings.s3_public_endpoint or endpoint),
        region=region,
        credentials=credentials,
        seconds=settings.s3_timeout_seconds,
    )


def _credentials(settings: Settings) -> Credentials | None:
    """Both halves from one place; None if no place has any."""
    key, secret = settings.s3_access_key, settings.s3_secret_key.get_secret_value()
    if bool(key) != bool(secret):
        raise errors.SetupError(
            "Of the access key of the object store one half is missing.",
            hint="Set both DATADISTILLER_S3_ACCESS_KEY and DATADISTILLER_S3_SECRET_KEY, or neither.",
        )
    if key:
        return Credentials(key, secret)
    key, secret = _variable("AWS_ACCESS_KEY_ID"), _variable("AWS_SECRET_ACCESS_KEY")
    return Credentials(key, secret, _variable("AWS_SESSION_TOKEN")) if key and secret else None


def _address(name: str, url: str) -> str:
    parts = urlsplit(url)
    extra = parts.path.strip("/") or parts.query or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or extra:
        raise errors.SetupError(
            f"DATADISTILLER_{name} is not the address of a server.", hint="It looks like https://minio.example:9000."
        )
    return f"{parts.scheme}://{parts.netloc}"


def _variable(*names: str) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")
