"""Reads multipart/form-data as it arrives: one file, streamed to whoever asks for it, and a few small fields.

Pulled, not pushed: the next piece of the body is read only when the last one has been taken, so a slow disk
slows the sender down and nothing piles up in memory.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from datadistiller import errors
from datadistiller.parsing.attaching import REORDERING

FILE_FIELD = "file"
MAX_FIELDS = 16
MAX_FIELD_BYTES = 16 << 10
MAX_HEADER_BYTES = 16 << 10  # a name of 300 emoji, percent-encoded, and once more in plain
MAX_EPILOGUE_BYTES = 4 << 10
MAX_NAME_CHARS = 255
#: A sender that is silent this long has gone.
STALL_SECONDS = 30.0

_EXTENDED = re.compile(rb"""filename\*\s*=\s*"?([A-Za-z0-9_-]*)'[^']*'([^;"\s]+)""", re.IGNORECASE)


def readable_filename(raw: str) -> str:
    """The name a document is shown by: its last path component, without control or reordering characters,
    at most 255 characters with the extension kept; "document" if nothing is left."""
    name = unicodedata.normalize("NFC", raw).replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(c for c in REORDERING.sub("", name) if unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp"))
    kept = kept.strip()
    if len(kept) > MAX_NAME_CHARS:
        stem, dot, extension = kept.rpartition(".")
        tail = dot + extension if stem and len(extension) < 20 else ""
        kept = kept[: MAX_NAME_CHARS - len(tail)] + tail
    return kept if kept.strip(".") else "document"


class Form:
    """One form. Call ``open_file``, take all of ``content``, then ``rest``; ``fields`` is complete after that.

    Raises errors.InvalidRequest for what is not such a form, errors.UploadStalled for a silent sender.
    """

    def __init__(self, content_type: str, stream: AsyncIterator[bytes], stall_seconds: float = STALL_SECONDS) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise errors.InvalidRequest("Send the document as multipart/form-data in a field named 'file'.")
        self.fields: dict[str, str] = {}
        self.ended = False  # the whole body has been read
        self._stream = stream
        self._stall_seconds = stall_seconds
        self._parser = _parser(boundary, self)
        self._filename: str | None = None
        self._part = _Part()
        self._pieces: list[bytes] = []
        self._file_ended = False
        self._complete = False
        self._epilogue = 0

    async def open_file(self) -> str:
        """Reads up to the begin of the file's bytes; returns its name as it may be shown."""
        while self._filename is None and await self._pump():
            pass
        if self._filename is None:
            raise errors.InvalidRequest("The form has no field 'file'.", hint="Send the document in that field.")
        return self._filename

    async def content(self) -> AsyncIterator[bytes]:
        """The file's bytes, in pieces of what one read of the network brings; never an empty one."""
        while True:
            if self._pieces:
                piece = b"".join(self._pieces)
                self._pieces.clear()
                yield piece
            if self._file_ended:
                return
            await self._pump()

    async def rest(self) -> dict[str, str]:
        """Reads to the end; returns the fields."""
        while await self._pump():
            pass
        return self.fields

    async def _pump(self) -> bool:
        """Takes one piece of the body in; False at its end."""
        try:
            async with asyncio.timeout(self._stall_seconds):
                data = await anext(self._stream, None)
        except TimeoutError:
            raise errors.UploadStalled(f"No byte arrived for {self._stall_seconds:.0f} seconds.") from None
        if data is None:
            self.ended = True
            if not self._complete:
                raise errors.InvalidRequest("The form ends in the middle: its last boundary is missing.")
            return False
        if self._complete:
            self._epilogue += len(data)
            if self._epilogue > MAX_EPILOGUE_BYTES:
                raise errors.InvalidRequest("The form goes on after its last boundary.")
            return True
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise errors.InvalidRequest("The body is not a well-formed multipart form.") from error
        return True

    # What follows is called by the parser while it is fed.

    def begin_part(self) -> None:
        """A part begins."""
        self._part = _Part()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's name."""
        self._part.header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's value."""
        self._part.value += data[start:end]

    def end_header(self) -> None:
        """A header is complete; of all only the disposition matters."""
        part = self._part
        if part.header.lower() == b"content-disposition":
            part.disposition = bytes(part.value)
        part.header.clear()
        part.value.clear()

    def end_headers(self) -> None:
        """The bytes of the part begin: the file, or a field."""
        part = self._part
        _, options = parse_options_header(part.disposition)
        part.name = options.get(b"name", b"").decode(errors="replace")
        if not part.name:
            raise errors.InvalidRequest("A part of the form has no name.")
        if part.name != FILE_FIELD:
            if len(self.fields) >= MAX_FIELDS or part.name in self.fields:
                raise errors.InvalidRequest("The form has too many fields, or one of them twice.")
            return
        if self._filename is not None:
            raise errors.InvalidRequest("The form has more than one field 'file'.", hint="Upload one file per request.")
        self._filename = readable_filename(_filename(part.disposition, options))

    def part_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of the part's bytes."""
        if self._part.name == FILE_FIELD:
            self._pieces.append(data[start:end])
            return
        self._part.data += data[start:end]
        if len(self._part.data) > MAX_FIELD_BYTES:
            raise errors.InvalidRequest(f"The form field '{self._part.name}' is longer than {MAX_FIELD_BYTES} bytes.")

    def end_part(self) -> None:
        """The part is complete."""
        part = self._part
        if part.name == FILE_FIELD:
            self._file_ended = True
            return
        try:
            self.fields[part.name] = part.data.decode()
        except UnicodeDecodeError:
            raise errors.InvalidRequest(f"The form field '{part.name}' is not UTF-8.") from None

    def end_form(self) -> None:
        """The last boundary was read."""
        self._complete = True


class _Part:
    """What is known of the part being read."""

    def __init__(self) -> None:
        self.header = bytearray()
        self.value = bytearray()
        self.disposition = b""
        self.name = ""
        self.data = bytearray()


def _parser(boundary: bytes, form: Form) -> MultipartParser:
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin_part,
                "on_header_field": form.header_name,
                "on_header_value": form.header_value,
                "on_header_end": form.end_header,
                "on_headers_finished": form.end_headers,
                "on_part_data": form.part_data,
                "on_part_end": form.end_part,
                "on_end": form.end_form,
            },
            max_header_size=MAX_HEADER_BYTES,
        )
    except FormParserError as error:
        raise errors.InvalidRequest("The multipart boundary is too long.") from error


def _filename(disposition: bytes, options: dict[bytes, bytes]) -> str:
    """The name as sent: ``filename*`` (RFC 5987) if it is there and sound, else ``filename`` as UTF-8.

    Browsers write a quote as %22 and line ends as %0D, %0A (WHATWG HTML, multipart/form-data encoding).
    """
    extended = _EXTENDED.search(disposition)
    if extended:
        with suppress(LookupError, UnicodeError):
            return unquote_to_bytes(extended[2]).decode(extended[1].decode() or "utf-8")
    plain = options.get(b"filename", b"")
    for escaped, meant in ((b"%22", b'"'), (b"%0D", b"\r"), (b"%0A", b"\n")):
        plain = plain.replace(escaped, meant)
    return plain.decode(errors="replace")
