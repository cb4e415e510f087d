"""Signed files (CMS, PKCS #7, S/MIME): what was signed lies in them. Signatures are not checked.

Read as BER, since what is streamed has no lengths; sources: RFC 5652, X.690.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from pathlib import Path

from datadistiller import errors
from datadistiller.parsing import Attachment, Header, Item, formats, limits
from datadistiller.parsing.attaching import clean_path
from datadistiller.parsing.packed.listing import Listing

_SIGNED, _ENVELOPED = "1.2.840.113549.1.7.2", ("1.2.840.113549.1.7.3", "1.2.840.113549.1.9.16.1.23")
_OID, _OCTETS, _CONSTRUCTED, _LONG_TAG = 0x06, 0x04, 0x20, 0x1F
#: The content is below the third child of the signed data: ContentInfo > [0] > SignedData > EncapsulatedContentInfo.
_CHILD, _CONTENT = 3, 3
_ARMOUR = re.compile(rb"-----(?:BEGIN|END) [A-Z0-9 ]+-----")
_MIME = re.compile(rb"(?:content-type|mime-version|from|received):", re.I)
_ENDINGS = (".p7m", ".p7s", ".p7")
_DECRYPT = "Decrypt it in your mail program or with your key, and upload what comes out."


def signed_content(data: bytes) -> bytes:
    """What was signed.

    Raises ``errors.EncryptedDocument``, ``EmptyDocument`` (a signature alone), ``UnsupportedType``,
    ``DamagedDocument``.
    """
    pieces: list[bytes] = []
    kind = ""
    child = 0
    for depth, tag, content in _elements(_unarmoured(data)):
        if depth == 1 and tag == _OID:
            kind = _oid(content)
            if kind in _ENVELOPED:
                raise errors.EncryptedDocument("The message is encrypted.", hint=_DECRYPT)
            if kind != _SIGNED:
                raise errors.UnsupportedType("This is a CMS file that is neither signed nor encrypted.")
        child += depth == _CHILD
        if child == _CONTENT and depth > _CHILD and tag == _OCTETS:
            pieces.append(content)
    if not kind:
        raise _damaged()
    if not pieces:
        raise errors.EmptyDocument(
            "This is a signature without what it signs.", hint="Upload the file that the signature was made for."
        )
    return b"".join(pieces)


def _unarmoured(data: bytes) -> bytes:
    """The same in binary form, if it is in base64."""
    if data[:1] == b"0":
        return data
    try:
        return base64.b64decode(b"".join(_ARMOUR.sub(b"", data).split()), validate=True)
    except binascii.Error as error:
        raise _damaged() from error


def _elements(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(depth, tag, content) of every element, in order; those that hold others have no content here."""
    open_ends: list[int] = []  # where elements that are being read end; 0 if a mark says so
    at = 0
    while at < len(data):
        while open_ends and open_ends[-1] and at >= open_ends[-1]:
            open_ends.pop()
        if data[at : at + 2] == b"\0\0" and open_ends and not open_ends[-1]:
            open_ends.pop()
            at += 2
            continue
        if at and not open_ends:
            return  # what follows the element
        tag, length, at = _begin(data, at)
        if tag & _CONSTRUCTED:
            yield len(open_ends), tag, b""
            open_ends.append(0 if length is None else at + length)
        else:
            if length is None or length > len(data) - at:
                raise _damaged()
            yield len(open_ends), tag, data[at : at + length]
            at += length
        if len(open_ends) > limits.MAX_DEPTH:
            raise _damaged()


def _begin(data: bytes, at: int) -> tuple[int, int | None, int]:
    """Tag, length (None: a mark ends it) and where the content of the element at ``at`` begins."""
    head = data[at : at + 2]
    if len(head) < 2 or head[0] & _LONG_TAG == _LONG_TAG:  # no CMS file has numbers that long
        raise _damaged()
    tag, first = head
    if first < 0x80:
        return tag, first, at + 2
    size = first & 0x7F
    return tag, int.from_bytes(data[at + 2 : at + 2 + size], "big") if size else None, at + 2 + size


def _oid(content: bytes) -> str:
    """An object identifier with dots."""
    numbers, value = list[int](), 0
    for byte in content:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            numbers, value = [*numbers, value], 0
    first = min(2, numbers[0] // 40) if numbers else 0
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]])) if numbers else ""


def _damaged() -> errors.DamagedDocument:
    return errors.DamagedDocument("The file is damaged or cut off, or it is no signed file.")


class CmsParser:
    """Reads signed files (p7m): the file that was signed is taken out."""

    name = "cms"
    media_types = (formats.SIGNED,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """The file in it, then one page with its name. Errors as ``signed_content``."""
        content = signed_content(path.read_bytes())
        name = _inner_name(path.name, content)
        yield Header(self.name, formats.SIGNED, "", 1)
        yield Attachment(name, _pieces(content), len(content))
        yield Listing([(clean_path(name), len(content))]).page(1)


def _pieces(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), limits.PIECE_BYTES):
        yield content[at : at + limits.PIECE_BYTES]


def _inner_name(name: str, content: bytes) -> str:
    """The file's own name without the last ending; part of a mail is read as a mail."""
    ending = next((e for e in _ENDINGS if name.lower().endswith(e) and len(name) > len(e)), "")
    inner = name[: len(name) - len(ending)] if ending else f"{name}.content"
    return f"{inner}.eml" if "." not in inner and _MIME.match(content) else inner
