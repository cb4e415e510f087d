"""What an S3 server's refusals mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions as obstore_errors

from datadistiller import errors

#: The answer's body names the kind of error; obstore gives it as text, and of a HEAD only the status.
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")

FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"})
BAD_KEY = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "AccessDenied", "AccountProblem"}
)
OTHER_REGION = frozenset(
    {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "InvalidRegion"}
)
SKEWED = frozenset({"RequestTimeTooSkewed"})
NO_BUCKET = frozenset({"NoSuchBucket"})


class Refused(Exception):
    """An S3 server answered one of our own calls with an error."""

    def __init__(self, status: int, body: str) -> None:
        found = _CODE.search(body)
        self.code = found[1] if found else f"HTTP {status}"
        super().__init__(self.code)


def code_of(error: BaseException) -> str:
    """The server's word for an error; what kind of exception it was if the server said nothing."""
    if isinstance(error, Refused):
        return error.code
    text = str(error)
    if found := _CODE.search(text):
        return found[1]
    if found := _STATUS.search(text):
        return f"HTTP {found[1]}"
    return "no answer" if isinstance(error, obstore_errors.GenericError | OSError) else type(error).__name__


@contextmanager
def translated(done: str) -> Iterator[None]:
    """Errors of the store become ours; ``done`` completes "a file could not be ...". No address, no credential."""
    try:
        yield
    except (OSError, obstore_errors.BaseError, Refused) as error:
        code = code_of(error)
        if isinstance(error, FileNotFoundError) and code not in NO_BUCKET:
            raise errors.ObjectMissing from error
        if code in FULL:
            raise errors.CapacityError(
                f"The object store is full ({code}): nothing was accepted.",
                retry_after=30,
                hint="Give the object store more room, then upload again.",
            ) from error
        raise errors.Unavailable(f"The object store does not work: a file could not be {done} ({code}).") from error


def setup_error(bucket: str, error: BaseException) -> errors.SetupError | None:
    """Why a bucket can never be used as configured; None if it may only be a matter of time."""
    code = code_of(error)
    if code in BAD_KEY or code == "HTTP 403":
        return errors.SetupError(
            f"The object store refuses the access key for the bucket '{bucket}' ({code}).",
            hint="Set DATADISTILLER_S3_ACCESS_KEY and DATADISTILLER_S3_SECRET_KEY (or their _FILE variables), and let "
            "the key list, read, write and delete in the bucket.",
        )
    if code in OTHER_REGION:
        return errors.SetupError(
            f"The bucket '{bucket}' is not in the region that was named ({code}).",
            hint="Set DATADISTILLER_S3_REGION, and DATADISTILLER_S3_ENDPOINT if it has an address of its own.",
        )
    if code in SKEWED:
        return errors.SetupError(
            "The clocks of this machine and of the object store differ by more than its 15 minutes.",
            hint="Set the clock of this machine (for example with NTP).",
        )
    if code in ("InvalidBucketName", "BucketAlreadyExists") or code in NO_BUCKET:
        return errors.SetupError(
            f"The bucket '{bucket}' is not there and cannot be made ({code}).",
            hint="Name another in DATADISTILLER_OBJECTS_URL (s3://bucket), or make it.",
        )
    return None
