"""Outlook messages (msg): what a person sees of the headers, the body, the attachments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath

from datadistiller import errors
from datadistiller.model import BlockKind
from datadistiller.parsing import Attachment, Header, Item, decoding, formats, limits, pages, text
from datadistiller.parsing.mail import cms, decoration, email, lzfu
from datadistiller.parsing.markup import html
from datadistiller.parsing.office import rtf
from datadistiller.parsing.office.ole import Container, u16
from datadistiller.parsing.pages import PageBuilder

_WHAT = "Outlook message"
_SUBJECT, _CLASS, _BODY, _HTML, _RTF = 0x0037, 0x001A, 0x1000, 0x1013, 0x1009
_SENDER, _SENDER_ADDRESSES, _TO, _CC = 0x0C1A, (0x5D01, 0x0C1F), 0x0E04, 0x0E03
_SENT, _RECEIVED, _CODE_PAGES = 0x0039, 0x0E06, (0x3FDE, 0x3FFD)
_ATTACHED, _FILE_NAMES = 0x3701, (0x3707, 0x3704, 0x3001)
_CONTENT_ID, _MEDIA_TYPE, _FLAGS, _HIDDEN, _RENDERED = 0x3712, 0x370E, 0x3714, 0x7FFE, 4
_PROPERTIES = "__properties_version1.0"
_ATTACHMENT = "__attach_version1.0_"
_INNER = f"__substg1.0_{_ATTACHED:04X}000D"
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


class _Message:
    """The properties of a message, or of an attachment, that lie in one storage of the file."""

    def __init__(self, container: Container, storage: tuple[str, ...]) -> None:
        self._container = container
        self._storage = storage
        self._names = {name.lower(): name for name in container.children(*storage)}
        self._fixed = dict(self._read_fixed(container.read(*storage, _PROPERTIES)))
        page = next((self._fixed[key] for key in _CODE_PAGES if key in self._fixed), 0) & 0xFFFF_FFFF
        self._charset = "utf-8" if page == 65001 else f"cp{page}" if page else None

    def text(self, number: int) -> str:
        """A property that is text, empty if it is not there."""
        data = self.stream(number, "001F")
        if data:
            return pages.clean(data.decode("utf-16-le", "replace")).strip("\0")
        return pages.clean(decoding.decode(self.stream(number, "001E"), self._charset)).strip("\0")

    def line(self, number: int) -> str:
        """A property that is text, on one line."""
        return " ".join(self.text(number).split())

    def stream(self, number: int, kind: str) -> bytes:
        """A property of that type as it lies in the file."""
        name = self._names.get(f"__substg1.0_{number:04x}{kind.lower()}")
        return self._container.read(*self._storage, name) if name else b""

    def markup(self) -> str:
        """The body as HTML, empty if it has none."""
        data = self.stream(_HTML, "0102")
        return html.decode(data, self._charset) if data else self.text(_HTML)

    def date(self) -> str:
        """When it was sent, as the headers of other messages have it."""
        ticks = self._fixed.get(_SENT) or self._fixed.get(_RECEIVED) or 0
        try:
            moment = _EPOCH + timedelta(microseconds=ticks // 10)
        except OverflowError:
            return ""
        return f"{moment:%a, %d %b %Y %H:%M:%S +0000}" if ticks else ""

    def attachments(self) -> Iterator[tuple[str, ...]]:
        """The storages of what is attached."""
        return ((*self._storage, n) for key, n in sorted(self._names.items()) if key.startswith(_ATTACHMENT))

    def inner(self) -> tuple[str, ...] | None:
        """The storage of the message that this attachment is, if it is one."""
        name = self._names.get(_INNER.lower())
        return (*self._storage, name) if name else None

    def contents(self) -> Iterator[bytes]:
        """The file that this attachment is, read when it is asked for; nothing if it only names one elsewhere."""
        yield self.stream(_ATTACHED, "0102")

    def decorates(self, name: str, shown: frozenset[str]) -> bool:
        """True for what is in the text; of pictures also for those that it shows, and tiny ones."""
        content_id, rendered = self.line(_CONTENT_ID), self._fixed.get(_FLAGS, 0) & _RENDERED
        if self._fixed.get(_HIDDEN, 0) & 1 or (content_id and rendered):
            return True
        form = formats.BY_EXTENSION.get(PurePath(name).suffix.lower())
        kind = self.line(_MEDIA_TYPE) or (form.media_type if form else "")
        if not kind.startswith("image/"):
            return False
        return bool(rendered) or decoration.decorates(self.stream(_ATTACHED, "0102"), content_id, shown)

    def shown(self) -> frozenset[str]:
        """The content ids of what the body shows, whichever form of it is read."""
        try:
            packed = lzfu.unpack(self.stream(_RTF, "0102")).decode("latin-1")
        except errors.UnreadableDocument:
            packed = ""
        return decoration.shown_by((self.markup(), packed))

    def _read_fixed(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(number, value) of those that have a fixed size; the header before them is of 8, 24 or 32 bytes."""
        for at in range(len(data) % 16 or 32, len(data) - 15, 16):
            if u16(data, at) in (0x0003, 0x000B, 0x0040):
                yield u16(data, at + 2), int.from_bytes(data[at + 8 : at + 16], "little")


class _Reader:
    """Puts one message, and those attached to it, on a page."""

    def __init__(self, container: Container) -> None:
        self.page = PageBuilder()
        self.attachments: list[Attachment] = []
        self.encrypted = False
        self.bodies = 0
        self._folder = ""  # the subjects of the attached messages that are being read
        self.passed_over = 0  # pictures that the text shows
        self._container = container

    def message(self, message: _Message, depth: int = 0) -> None:
        """Adds headers and contents of a message. Raises ``errors.EncryptedDocument``."""
        self.page.add(BlockKind.HEADING, message.line(_SUBJECT), min(6, depth + 1))
        address = next((a for key in _SENDER_ADDRESSES if "@" in (a := message.line(key))), "")
        name = message.line(_SENDER)
        sender = f"{name} <{address}>" if address and address != name else name
        shown = (("From", sender), ("To", message.line(_TO)), ("Cc", message.line(_CC)), ("Date", message.date()))
        self.page.add(BlockKind.PARAGRAPH, "\n".join(f"{key}: {value}" for key, value in shown if value))
        self._body(message)
        storages = list(message.attachments())
        named = message.shown() if storages else frozenset[str]()
        for storage in storages:
            self._attachment(_Message(self._container, storage), named, depth)

    def _body(self, message: _Message) -> None:
        """Of the forms of the body the plain one, unless it is empty; then HTML, then RTF."""
        before = self.page.mark()
        self._add_body(message)
        self.bodies += self.page.mark() > before

    def _add_body(self, message: _Message) -> None:
        plain = message.text(_BODY)
        if plain.strip():
            for block in text.paragraphs(plain):
                self.page.add(BlockKind.PARAGRAPH, plain[block.start : block.end])
        elif markup := message.markup():
            self.page.extend(html.convert(markup)[1])
        elif packed := message.stream(_RTF, "0102"):
            self.page.extend(rtf.convert(lzfu.unpack(packed))[1])

    def _attachment(self, attached: _Message, shown: frozenset[str], depth: int) -> None:
        inner = attached.inner()
        if inner is not None and depth < limits.MAX_DEPTH:
            folder, message = self._folder, _Message(self._container, inner)
            self._folder += f"{message.line(_SUBJECT).replace('/', '_')[:100] or 'message'}/"
            self.message(message, depth + 1)
            self._folder = folder
        elif name := next((n for key in _FILE_NAMES if (n := attached.line(key))), ""):
            self.encrypted |= name.lower().endswith((".pgp-encrypted", ".p7m"))
            self.page.add(BlockKind.PARAGRAPH, f"Attachment: {name[:300]}")
            if attached.decorates(name, shown):
                self.passed_over += 1
            else:
                path = self._folder + name[:300].replace("/", "_")
                self.attachments.append(Attachment(path, attached.contents()))


def _signed(container: Container, message: _Message, kind: str) -> email.Converted | None:
    """The contents of a signed message lie in its attachment; those of an encrypted one cannot be read."""
    if not re.match(r"IPM\.Note\.(?:Secure|SMIME)", kind, re.I):
        return None
    for storage in message.attachments():
        data = _Message(container, storage).stream(_ATTACHED, "0102")
        if data:
            return email.convert(data if "signed" in kind.lower() else _unwrapped(data))
    raise _encrypted()


def _unwrapped(data: bytes) -> bytes:
    """A message that is signed or encrypted as a whole, without that."""
    return cms.signed_content(data) if data[:1] == b"0" else data


def _encrypted() -> errors.EncryptedDocument:
    return errors.EncryptedDocument(
        "The message is encrypted.", hint="Decrypt it in your mail program, save it and upload that."
    )


class MsgParser:
    """Reads messages as Outlook saves them, and its appointments, contacts and tasks."""

    name = "msg"
    media_types = (formats.MSG,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """Attachments, then one page. Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``."""
        container = Container(path, _WHAT)
        try:
            if not container.has(_PROPERTIES):
                raise errors.DamagedDocument(f"This is no {_WHAT}: its main part is missing.")
            message = _Message(container, ())
            signed = _signed(container, message, message.line(_CLASS))
            reader = _Reader(container)
            reader.message(message)
            if signed is not None:
                reader.page.extend(signed.page)
                reader.attachments[:] = signed.attachments
            elif reader.encrypted and not reader.bodies:
                raise _encrypted()
            yield Header(self.name, formats.MSG, message.line(_SUBJECT)[:300], 1)
            yield from reader.attachments
            yield from signed.warnings if signed else email.pictures_not_read(reader.passed_over)
            yield reader.page.build(1)
        finally:
            container.close()
