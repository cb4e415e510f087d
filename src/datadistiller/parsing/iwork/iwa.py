"""The container of iWork documents since 2013: objects in IWA files, which are Protocol Buffers packed by Snappy.

An IWA file is a row of chunks (a zero byte, three bytes of length, a block of raw Snappy). Unpacked it is a row of
archives: the length of an ``ArchiveInfo``, that (1: the object's number; 2: its messages, each 1: type, 3: length),
and the messages. Objects refer to others by number, whichever file they lie in. There is no published
specification; sources: the descriptions in keynote-parser and numbers-parser, the Snappy format description.
"""

from __future__ import annotations

import io
import posixpath
import struct
from collections.abc import Iterator, Mapping, Sequence

from datadistiller import errors
from datadistiller.parsing import limits
from datadistiller.parsing.packed.archive import Archive

_WHAT = "iWork document"


class Message:
    """The fields of a message by number, each with its values in order: numbers, or bytes."""

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        at = 0
        while at < len(data):
            key, at = varint(data, at)
            value: int | bytes
            match key & 7:
                case 0:
                    value, at = varint(data, at)
                case 1:
                    value, at = _fixed(data, at, 8)
                case 2:
                    length, at = varint(data, at)
                    value, at = _cut(data, at, length), at + length
                case 5:
                    value, at = _fixed(data, at, 4)
                case _:
                    raise damaged()
            self._fields.setdefault(key >> 3, []).append(value)

    def number(self, field: int, default: int = 0) -> int:
        """A number; the last one counts."""
        value = self._fields.get(field, [default])[-1]
        return value if isinstance(value, int) else default

    def data(self, field: int) -> bytes:
        """Bytes, empty if there are none."""
        value = self._fields.get(field, [b""])[-1]
        return value if isinstance(value, bytes) else b""

    def text(self, field: int) -> str:
        """A text; one that is repeated is joined."""
        return b"".join(self._bytes(field)).decode("utf-8", "replace")

    def message(self, field: int) -> Message:
        """The message in a field, without fields if there is none."""
        return Message(self.data(field))

    def messages(self, field: int) -> Iterator[Message]:
        """All messages in a repeated field."""
        return (Message(value) for value in self._bytes(field))

    def reference(self, field: int) -> int:
        """The number of the object that a field refers to, 0 if to none."""
        return self.message(field).number(1)

    def references(self, field: int) -> list[int]:
        """The numbers of all objects that a repeated field refers to."""
        return [message.number(1) for message in self.messages(field)]

    def _bytes(self, field: int) -> Sequence[bytes]:
        return [value for value in self._fields.get(field, ()) if isinstance(value, bytes)]


class Objects:
    """All objects of a document, by number. Raises ``errors.DamagedDocument``, ``LimitExceeded``."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._objects: dict[int, tuple[int, bytes, str]] = {}  # type, message, file
        left = limits.MAX_IWORK_BYTES
        for name, packed in files.items():
            data = unpacked(packed, left)
            left -= len(data)
            for number, kind, message in _archives(data):
                self._objects[number] = kind, message, name

    def kind(self, number: int) -> int:
        """The type of an object, 0 if there is none of this number."""
        return self._objects.get(number, (0, b"", ""))[0]

    def get(self, number: int) -> Message:
        """An object, without fields if there is none of this number."""
        return Message(self._objects.get(number, (0, b"", ""))[1])

    def of(self, kinds: Sequence[int], file: str = "") -> list[int]:
        """The numbers of the objects of some types, in the order of the files; of one file, if it is named."""
        return [n for n, (kind, _, name) in self._objects.items() if kind in kinds and (not file or name == file)]


def files(archive: Archive) -> dict[str, bytes]:
    """The IWA files of a document, packed, by the name without folders; those of tables with theirs (``Tables/``).

    They lie in the folder ``Index`` or in an archive of that name, maybe within a folder that somebody has packed.
    """
    if index := next((name for name in archive.names() if posixpath.basename(name) == "Index.zip"), None):
        archive = Archive(io.BytesIO(archive.read(index)), _WHAT)
    return {
        name.removesuffix(".iwa").rpartition("Index/")[2]: archive.read(name)
        for name in archive.names()
        if name.endswith(".iwa")
    }


def unpacked(data: bytes, most: int) -> bytes:
    """An IWA file without its packing. Raises ``errors.LimitExceeded`` if it is of more than ``most`` bytes."""
    out = bytearray()
    at = 0
    while at < len(data):
        length = int.from_bytes(_cut(data, at + 1, 3), "little")
        block = _cut(data, at + 4, length)
        size, begin = varint(block, 0)
        if len(out) + size > most:
            raise errors.LimitExceeded(
                f"The {_WHAT} holds more than {limits.MAX_IWORK_BYTES >> 20:,} MiB of objects.",
                hint="Save it as PDF and upload that, or split it.",
            )
        out += _snappy(block, begin, size)
        at += 4 + length
    return bytes(out)


def _snappy(data: bytes, at: int, size: int) -> bytearray:
    """Raw Snappy: literals, and copies of what is there already; exactly ``size`` bytes."""
    out = bytearray()
    while at < len(data):
        tag, at = data[at], at + 1
        length = (tag >> 2) + 1
        if tag & 3 == 0:  # a literal; the length of a long one follows in one to four bytes
            if length > 60:
                wide = length - 60
                length, at = int.from_bytes(_cut(data, at, wide), "little") + 1, at + wide
            out += _cut(data, at, length)
            at += length
        else:
            if tag & 3 == 1:
                length, wide, high = (tag >> 2 & 7) + 4, 1, tag >> 5 << 8
            else:
                wide, high = (2, 0) if tag & 3 == 2 else (4, 0)
            offset, at = high | int.from_bytes(_cut(data, at, wide), "little"), at + wide
            if not 0 < offset <= len(out):
                raise damaged()
            start = len(out) - offset
            piece = out[start : start + length]
            out += (piece * (length // len(piece) + 1))[:length]  # a copy may reach into itself
        if len(out) > size:
            raise damaged()
    return out


def _archives(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(number, type, message) of each object; of one with several messages the first, the others only change it."""
    at = 0
    while at < len(data):
        length, at = varint(data, at)
        info = Message(_cut(data, at, length))
        at += length
        for place, message in enumerate(info.messages(2)):
            body = _cut(data, at, message.number(3))
            at += len(body)
            if not place:
                yield info.number(1), message.number(1), body


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number of variable length there, and the place behind it."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise damaged()


def _fixed(data: bytes, at: int, size: int) -> tuple[int, int]:
    return int.from_bytes(_cut(data, at, size), "little"), at + size


def _cut(data: bytes, at: int, length: int) -> bytes:
    if length > len(data) - at:
        raise damaged()
    return data[at : at + length]


def double(data: bytes, at: int) -> float:
    """The floating-point number there, of 8 bytes, little endian."""
    return float(struct.unpack("<d", _cut(data, at, 8))[0])


def damaged() -> errors.DamagedDocument:
    """What is raised for a file that does not keep to its own form."""
    return errors.DamagedDocument(f"The {_WHAT} is damaged or cut off.")
