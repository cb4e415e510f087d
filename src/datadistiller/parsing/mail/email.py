"""E-mail messages: the headers a person sees, the body, the attachments."""

from __future__ import annotations

import email
import email.header
import email.message
import email.policy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from datadistiller import errors
from datadistiller.model import BlockKind, Problem
from datadistiller.parsing import Attachment, Header, Item, decoding, formats, limits, pages, text
from datadistiller.parsing.mail import cms, decoration
from datadistiller.parsing.markup import html
from datadistiller.parsing.pages import PageBuilder

_SHOWN = ("From", "To", "Cc", "Date")
_SEALED = ("enveloped-data", "authEnveloped-data")
_WRAPPED = ("application/pkcs7-mime", "application/x-pkcs7-mime")

_TOO_DEEP = Problem(
    "nested_too_deep",
    f"Parts that lie more than {limits.MAX_DEPTH} deep in each other were left out.",
    "Save the message inside by itself, and upload that.",
)

Message: TypeAlias = "email.message.Message[str, str]"  # generic for type checkers only


def _decoded(raw: str) -> str:
    """A header's value; the library's own decoding refuses much of what real mail contains."""
    try:
        pieces = email.header.decode_header(raw)
    except (ValueError, LookupError):
        pieces = [(raw, None)]
    whole = "".join(p if isinstance(p, str) else decoding.decode(p, charset) for p, charset in pieces)
    if any("\udc80" <= c <= "\udcff" for c in whole):  # how the library keeps bytes that are no ASCII
        whole = decoding.decode(whole.encode("utf-8", "surrogateescape"))
    return " ".join(pages.clean(whole).split())


def _header(message: Message, name: str) -> str:
    return _decoded(str(message.get(name) or ""))


def _payload(part: Message) -> bytes:
    try:
        payload = part.get_payload(decode=True)
    except (ValueError, LookupError):
        payload = None
    return payload if isinstance(payload, bytes) else b""


def _filename(part: Message) -> str:
    try:
        return _decoded(part.get_filename() or "")[:300]
    except (ValueError, LookupError, TypeError):
        return ""


def _is_body(part: Message) -> bool:
    return part.get_content_disposition() != "attachment" and part.get_content_type() in ("text/plain", "text/html")


def _unnamed(part: Message, number: int) -> str:
    """A name for what is attached without one."""
    if part.get_content_disposition() != "attachment":
        return ""
    form = formats.BY_MEDIA_TYPE.get(part.get_content_type())
    return f"attachment-{number}{form.extensions[0] if form else ''}"


def _is_decoration(part: Message, shown: frozenset[str]) -> bool:
    """A picture that the body shows, or a signature: it is no document that somebody sent."""
    kind = part.get_content_type()
    if part.get_content_maintype() == "image":
        name = str(part.get("Content-ID") or "")
        placed = name and part.get_content_disposition() != "attachment"
        return bool(placed) or decoration.decorates(_payload(part), name, shown)
    return "pkcs7-signature" in kind or "pgp" in kind


def _markups(part: Message, depth: int = 0) -> Iterator[str]:
    """The HTML in a message, also where the plain form of it is read."""
    if part.is_multipart() and depth <= limits.MAX_DEPTH:
        for child in part.get_payload():
            yield from _markups(child, depth + 1)  # type: ignore[arg-type]
    elif part.get_content_type() == "text/html":
        yield _payload(part).decode("latin-1")


class _Payload:
    """The bytes of a part, decoded when they are asked for."""

    def __init__(self, part: Message) -> None:
        self._part = part

    def __iter__(self) -> Iterator[bytes]:
        yield _payload(self._part)


class _Reader:
    """Puts one message, and those attached to it, on a page."""

    def __init__(self, shown: frozenset[str]) -> None:
        self.page = PageBuilder()
        self._shown = shown  # content ids of the pictures that some text shows
        self.attachments: list[Attachment] = []
        self.encrypted = False
        self.bodies = 0
        self._folder = ""  # the subjects of the attached messages that are being read
        self.passed_over = 0  # pictures that the text shows
        self.cut = False  # something lies too deep
        self.encodings: list[str] = []
        self.warnings: list[Problem] = []

    def message(self, message: Message, depth: int = 0) -> None:
        """Adds headers, contents and attachments of a message."""
        subject = _header(message, "Subject")
        self.page.add(BlockKind.HEADING, subject, min(6, depth + 1))
        shown = [(name, _header(message, name)) for name in _SHOWN]
        self.page.add(BlockKind.PARAGRAPH, "\n".join(f"{name}: {value}" for name, value in shown if value))
        self._part(message, depth)

    def _part(self, part: Message, depth: int) -> None:
        kind = part.get_content_type()
        if depth > limits.MAX_DEPTH:
            self.cut = True
            return
        if kind == "multipart/encrypted":
            self.encrypted = True
        elif kind in _WRAPPED:
            self._wrapped(part, depth)
        elif kind == "multipart/alternative":
            self._alternative(part, depth)
        elif kind == "message/rfc822":
            for inner in part.get_payload() if part.is_multipart() else ():
                self._inner(inner, depth + 1)  # type: ignore[arg-type]
        elif part.is_multipart():
            for child in part.get_payload():
                self._part(child, depth + 1)  # type: ignore[arg-type]
        elif _is_body(part):
            self._body(part, kind == "text/html")
        elif name := _filename(part) or _unnamed(part, len(self.attachments) + 1):
            self.page.add(BlockKind.PARAGRAPH, f"Attachment: {name}")
            if not _is_decoration(part, self._shown):
                self.attachments.append(Attachment(self._folder + name.replace("/", "_"), _Payload(part)))
            elif part.get_content_maintype() == "image":
                self.passed_over += 1

    def _wrapped(self, part: Message, depth: int) -> None:
        """What is wrapped in its signature is read in its place; certificates and the like hold nothing."""
        if part.get_param("smime-type") in _SEALED:
            self.encrypted = True
            return
        try:
            signed = cms.signed_content(_payload(part))
        except errors.EncryptedDocument:
            self.encrypted = True
        except errors.EmptyDocument:
            return
        else:
            self._part(email.message_from_bytes(signed, policy=email.policy.compat32), depth + 1)

    def _inner(self, message: Message, depth: int) -> None:
        """A message in the message: read with it; what is attached to it lies in a folder of its name."""
        folder = self._folder
        self._folder += f"{_header(message, 'Subject').replace('/', '_')[:100] or 'message'}/"
        self.message(message, depth)
        self._folder = folder

    def _alternative(self, part: Message, depth: int) -> None:
        """Of the forms of one text the plain one, unless it is empty; then the last one, which is the richest."""
        children = [child for child in part.get_payload() if isinstance(child, email.message.Message)]
        plain = [c for c in children if c.get_content_type() == "text/plain" and _payload(c).strip()]
        for child in plain[:1] or children[-1:]:
            self._part(child, depth + 1)

    def _body(self, part: Message, markup: bool) -> None:
        data = _payload(part)
        charset = part.get_param("charset")
        declared = charset if isinstance(charset, str) else None
        self.bodies += bool(data.strip())
        decoded = html.read(data, declared) if markup else decoding.read(data, declared)
        self.encodings.append(decoded.encoding)
        self.warnings += decoded.warnings
        if markup:
            self.page.extend(html.convert(decoded.text)[1])
            return
        body = pages.clean(decoded.text)
        for block in text.paragraphs(body):
            self.page.add(BlockKind.PARAGRAPH, body[block.start : block.end])


@dataclass(frozen=True, slots=True)
class Converted:
    """What a message says and carries, and how it was read: ``encoding`` is that of its file, or else of its bodies."""

    subject: str
    page: PageBuilder
    attachments: Sequence[Attachment]
    encoding: str
    warnings: Sequence[Problem]


def convert(data: bytes) -> Converted:
    """Reads a message. Raises ``errors.EncryptedDocument``, ``DamagedDocument``."""
    message, wide = _load(data)
    reader = _Reader(decoration.shown_by(_markups(message)))
    reader.message(message)
    if reader.encrypted and not reader.bodies:
        raise errors.EncryptedDocument(
            "The message is encrypted.", hint="Decrypt it in your mail program, save it and upload that."
        )
    warnings = [*reader.warnings, *pictures_not_read(reader.passed_over), *([_TOO_DEEP] if reader.cut else ())]
    encoding = wide or ", ".join(dict.fromkeys(reader.encodings))
    return Converted(_header(message, "Subject"), reader.page, reader.attachments, encoding, warnings)


def pictures_not_read(pictures: int) -> list[Problem]:
    """Says so, if there are any."""
    if not pictures:
        return []
    said = f"Pictures that the text shows, or that are tiny, are named and not read: {pictures}."
    return [Problem("pictures_not_read", said, "Save those that matter and upload them.")]


class EmailParser:
    """Reads messages as mail programs save them (eml), and web archives (mhtml), which have the same form."""

    name = "email"
    media_types = (formats.EMAIL,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """Attachments, then one page. Raises ``errors.EncryptedDocument`` if the contents are, ``DamagedDocument``."""
        message = convert(path.read_bytes())
        yield Header(self.name, formats.EMAIL, message.subject[:300], 1, message.encoding)
        yield from message.attachments
        yield from message.warnings
        yield message.page.build(1)


def _load(data: bytes) -> tuple[Message, str]:
    """The message in a file, and the file's encoding if it is saved in UTF-16 or UTF-32.

    Raises ``errors.DamagedDocument`` if it has no headers.
    """
    encoding = decoding.wide(data) or ""
    if encoding:
        data = decoding.decode(data).encode()
    message = email.message_from_bytes(data.lstrip(b"\r\n\t "), policy=email.policy.compat32)
    if not message.keys() or not re.match(r"[\x21-\x39\x3b-\x7e]+$", message.keys()[0]):
        raise errors.DamagedDocument("The file is no e-mail message: it has no headers.")
    return message, encoding.removeprefix("utf-8-sig")
