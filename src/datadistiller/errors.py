"""Every error of DataDistiller, in one tree. A class docstring is the default message.

    DataDistillerError
    ├── PermanentError        trying again cannot help: dead letter at once
    │   ├── UnreadableDocument    what is in the file
    │   │   ├── NoText  EncryptedDocument  DamagedDocument  UnsupportedType  EmptyDocument
    │   │   └── LimitExceeded  (pages, expansion, output)
    │   ├── ParserCrashed  ParserTimedOut  ParserOutOfMemory  WorkerCrashed
    │   ├── Undecodable           a record on a broker that is none of ours
    │   └── BrokenInvariant       a defect of ours: says which
    ├── TransientError        trying again may help: retry with back-off and jitter
    │   └── ObjectMissing     StoreUnavailable
    ├── CapacityError         not now: parked until `retry_after`, no attempt charged
    ├── LeaseLost             the message belongs to somebody else now: drop the result
    ├── RequestError          the caller must change something (HTTP 4xx)
    │   ├── JobNotFound  PageNotFound  NoPicture  DeadLetterNotFound
    │   ├── InvalidRequest  FileTooLarge  BodyTooLarge  FileEmpty  TypeNotSupported
    │   ├── Conflict  IdempotencyMismatch
    │   ├── UploadStalled  RangeNotSatisfiable  SiteRefused  KeyNotFound
    │   └── Unauthorized      HTTP 401: who asks is not known
    │       └── KeyRequired  KeyInvalid
    ├── Overloaded            HTTP 429/503 with Retry-After: bounded queues are full
    ├── Unavailable           HTTP 503: a store or the database is down
    └── SetupError            the system cannot start as configured: one sentence, what to do

`code` is stable and public, `hint` says what a person can do. Messages never hold document text or
credentials. Adapters translate their library's errors at their own edge.
"""

from __future__ import annotations

from typing import ClassVar

from datadistiller import model


class DataDistillerError(Exception):
    """Something went wrong in DataDistiller."""

    code: ClassVar[str] = "internal_error"
    default_hint: ClassVar[str] = "Please report this with the log lines around it."

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().split("\n")[0]
        self.hint = hint or self.default_hint
        super().__init__(self.message)

    def problem(self) -> model.Problem:
        """The error as it is stored and shown."""
        return model.Problem(self.code, self.message, self.hint)


class PermanentError(DataDistillerError):
    """The work cannot succeed, however often it is tried."""

    code = "permanent_error"


class UnreadableDocument(PermanentError):
    """The document could not be read."""

    code = "unreadable_document"
    default_hint = "Open the file in its own program, save it again and upload that."


class NoText(UnreadableDocument):
    """The document holds no text."""

    code = "no_text"
    default_hint = "If a person can read something on it, scan it again: larger, sharper, with more contrast."


class EncryptedDocument(UnreadableDocument):
    """The document is protected by a password."""

    code = "encrypted"
    default_hint = "Remove the password in the program that made the file and upload it again."


class DamagedDocument(UnreadableDocument):
    """The file is damaged or not what its type says."""

    code = "damaged"


class UnsupportedType(UnreadableDocument):
    """This type of file cannot be read."""

    code = "unsupported_type"
    default_hint = "Convert it to PDF, Office, HTML, Markdown or plain text and upload that."


class EmptyDocument(UnreadableDocument):
    """The file is empty."""

    code = "empty_document"
    default_hint = "Upload a file that has content."


class LimitExceeded(UnreadableDocument):
    """The document is larger than a limit allows."""

    code = "limit_exceeded"
    default_hint = "Split the document, or raise the limit named in the message."


class ParserCrashed(PermanentError):
    """The parser process died while reading the document."""

    code = "parser_crashed"
    default_hint = "Save the file again in its own program or convert it, then upload the result."


class ParserTimedOut(PermanentError):
    """The parser did not finish in time."""

    code = "parser_timeout"
    default_hint = "Split the document, or raise DATADISTILLER_PARSE_SECONDS."


class ParserOutOfMemory(PermanentError):
    """The parser needed more memory than it may use."""

    code = "parser_memory"
    default_hint = "Split the document, or raise DATADISTILLER_PARSER_MEMORY_MB."


class WorkerCrashed(PermanentError):
    """The worker process died again and again while it did this work."""

    code = "worker_crashed"
    default_hint = "Look at the worker's log, then try again with 'datadistiller retry'."


class Undecodable(PermanentError):
    """A record on the broker is not one of DataDistiller's."""

    code = "undecodable"
    default_hint = "Find out who writes into the topic; the record lies in its dead-letter topic."


class BrokenInvariant(PermanentError):
    """An invariant of the pipeline does not hold; this is a defect."""

    code = "broken_invariant"


class TransientError(DataDistillerError):
    """The work failed but may succeed later."""

    code = "transient_error"
    default_hint = "It is tried again by itself."


class StoreUnavailable(TransientError):
    """A store did not answer."""

    code = "store_unavailable"


class ObjectMissing(TransientError):
    """The uploaded file is not in the object store."""

    code = "object_missing"
    default_hint = "Check the object store (datadistiller doctor), or upload the file again."


class CapacityError(DataDistillerError):
    """A resource is exhausted for now; the work waits without being charged."""

    code = "capacity"
    default_hint = "It goes on by itself when there is room again."

    def __init__(self, message: str | None = None, *, retry_after: float = 5.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after  # seconds


class LeaseLost(DataDistillerError):
    """The lease of the message is no longer ours."""

    code = "lease_lost"


class RequestError(DataDistillerError):
    """The request cannot be served as it is."""

    code = "invalid_request"
    default_hint = "Change the request as the message says."


class InvalidRequest(RequestError):
    """The request is not valid."""


class JobNotFound(RequestError):
    """There is no such document."""

    code = "job_not_found"
    default_hint = "List the documents with GET /api/v2/documents."


class PageNotFound(RequestError):
    """The document has no such page."""

    code = "page_not_found"
    default_hint = "Look at page_count in its status."


class VersionNotFound(RequestError):
    """The document has no such version, or not any more."""

    code = "version_not_found"
    default_hint = "Its status names the versions there are; files of earlier ones are not kept."


class VersionChanged(RequestError):
    """The document has a newer version than the one in If-Match."""

    code = "version_changed"
    default_hint = "Fetch the document again, and bring in your change there."


class NoPicture(RequestError):
    """There is no picture of this page."""

    code = "no_picture"
    default_hint = "The same address without .png has the text of the page; .../content is the file itself."


class DeadLetterNotFound(RequestError):
    """There is no such dead letter."""

    code = "dead_letter_not_found"
    default_hint = "List them with 'datadistiller dead-letters list'."


class FileEmpty(RequestError):
    """The uploaded file is empty."""

    code = "file_empty"
    default_hint = "Choose a file with content."


class FileTooLarge(RequestError):
    """The uploaded file is larger than the limit."""

    code = "file_too_large"
    default_hint = "Split the file, or raise DATADISTILLER_MAX_UPLOAD_BYTES."


class BodyTooLarge(RequestError):
    """The body of the request is larger than the limit."""

    code = "body_too_large"
    default_hint = "Send less: shorten the question or the filter."


class TypeNotSupported(RequestError):
    """Files of this type are not supported."""

    code = "unsupported_type"
    default_hint = UnsupportedType.default_hint


class Conflict(RequestError):
    """The document is not in a state in which this can be done."""

    code = "conflict"
    default_hint = "Look at its status first."


class IdempotencyMismatch(RequestError):
    """The Idempotency-Key was used for another upload."""

    code = "idempotency_mismatch"
    default_hint = "Use a new key for a new upload."


class UploadStalled(RequestError):
    """The upload stopped arriving."""

    code = "upload_stalled"
    default_hint = "Upload the file again."


class RangeNotSatisfiable(RequestError):
    """The range of bytes asked for lies outside the file."""

    code = "range_not_satisfiable"
    default_hint = "Ask for a range within the size in Content-Range."


class SiteRefused(RequestError):
    """The request comes from another site."""

    code = "site_refused"
    default_hint = "Call the server by localhost or 127.0.0.1, and not from a page of another site."


class KeyNotFound(RequestError):
    """There is no such API key."""

    code = "key_not_found"
    default_hint = "List the keys with GET /api/v2/keys."


class Unauthorized(RequestError):
    """The server does not know who asks."""

    code = "unauthorized"
    default_hint = "Send a key: 'Authorization: Bearer dd_...'; the command line sends DATADISTILLER_API_KEY."
    #: What WWW-Authenticate says besides the realm (RFC 6750, section 3).
    challenge: ClassVar[str] = ""


class KeyRequired(Unauthorized):
    """The server answers only requests with an API key."""

    code = "key_required"


class KeyInvalid(Unauthorized):
    """The API key is not one of this server's, or was revoked."""

    code = "key_invalid"
    default_hint = "Ask whoever runs the server for another key ('datadistiller keys create NAME')."
    challenge = 'error="invalid_token", error_description="The key is unknown or was revoked."'


class Overloaded(DataDistillerError):
    """Too much is waiting already."""

    code = "overloaded"
    default_hint = "Try again after the time in Retry-After."

    def __init__(self, message: str | None = None, *, retry_after: float = 5.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after  # seconds


class Unavailable(DataDistillerError):
    """A part of the system is down; nothing was accepted."""

    code = "unavailable"
    default_hint = "Try again in a few seconds; GET /health names what is down."

    def __init__(self, message: str | None = None, *, retry_after: float = 2.0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after  # seconds


class SetupError(DataDistillerError):
    """The system cannot start."""

    code = "setup_error"
    default_hint = "Run 'datadistiller doctor' for details."
