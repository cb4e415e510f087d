"""Compiled help files (CHM): a topic is a page. Source: "Unofficial (Preliminary) HTML Help Specification"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, Item, formats, limits
from datadistiller.parsing.markup import html, lzx
from datadistiller.parsing.office.ole import u32

_MAGIC, _DIRECTORY, _LISTING, _CONTROL = b"ITSF", b"ITSP", b"PMGL", b"LZXC"
_SPACE = "::DataSpace/Storage/MSCompressed/"
_RESET_TABLE = f"{_SPACE}Transform/{{7FC28940-9D31-11D0-9B27-00A0C91E9C7C}}/InstanceData/ResetTable"
_TOPIC = re.compile(r"/[^#$].*\.(?:html?|xhtml)$", re.I)
_PACKED = 1  # the section of what is compressed
_KEPT = 4  # unpacked pieces that are kept: topics lie beside each other


class Help:
    """An open help file: its parts by name, unpacked as they are asked for."""

    def __init__(self, data: bytes) -> None:
        if not data.startswith(_MAGIC):
            raise _damaged()
        self._data = data
        self._content = _u64(data, 0x58)
        self._parts = {name: place for name, *place in self._listing(_u64(data, 0x48))}
        self._unpacked = lru_cache(_KEPT)(self._unpack)
        self._frames: list[int] = []  # where each frame begins in the packed data
        self._packed = b""
        if f"{_SPACE}Content" in self._parts:
            self._open_packed()

    def topics(self) -> list[str]:
        """The names of the HTML files, in the order of the directory."""
        return [name for name in self._parts if _TOPIC.match(name)]

    def read(self, name: str) -> bytes:
        """A part. Raises ``errors.DamagedDocument``, ``LimitExceeded``."""
        section, offset, length = self._parts.get(name, (0, 0, 0))
        if length > limits.MAX_MESSAGE_BYTES:
            raise errors.LimitExceeded(f"A topic of the help file has more than {limits.MAX_MESSAGE_BYTES >> 20} MiB.")
        if section != _PACKED:
            start = self._content + offset
            return self._data[start : start + length]
        found = bytearray()
        while len(found) < length:
            place = offset + len(found)
            piece = self._unpacked(place // self._step)[place % self._step :]
            if not piece:
                raise _damaged()
            found += piece
        return bytes(found[:length])

    def _listing(self, start: int) -> Iterator[tuple[str, int, int, int]]:
        """(name, section, offset, length) of every part."""
        data = self._data
        if data[start : start + 4] != _DIRECTORY:
            raise _damaged()
        first, size, count = start + u32(data, start + 8), u32(data, start + 16), u32(data, start + 44)
        if not 20 < size <= 1 << 20 or count > len(data) // size:
            raise _damaged()
        found = 0
        for chunk in range(first, first + size * count, size):
            if data[chunk : chunk + 4] == _LISTING:
                at, end = chunk + 20, chunk + size - u32(data, chunk + 4)
                while at < end:
                    length, at = _encoded(data, at)
                    name = data[at : at + length].decode("utf-8", "replace")
                    section, at = _encoded(data, at + length)
                    offset, at = _encoded(data, at)
                    length, at = _encoded(data, at)
                    found += 1
                    if found > limits.MAX_ENTRIES:
                        raise errors.LimitExceeded(f"The help file has more than {limits.MAX_ENTRIES:,} parts.")
                    yield name, section, offset, length

    def _open_packed(self) -> None:
        control, table = self.read(f"{_SPACE}ControlData"), self.read(_RESET_TABLE)
        if control[4:8] != _CONTROL or len(table) < 40:
            raise _damaged()
        unit = lzx.FRAME if u32(control, 8) == 2 else 1
        self._window = (u32(control, 16) * unit).bit_length() - 1
        self._every = u32(control, 12) * unit // lzx.FRAME  # frames from one restart to the next
        start, count = u32(table, 12), min(u32(table, 4), len(table) // 8)
        self._frames = [_u64(table, start + 8 * n) for n in range(count)]
        self._size = _u64(table, 16)
        self._step = self._every * lzx.FRAME
        if not 0 < self._step <= limits.MAX_MESSAGE_BYTES or self._size > lzx.FRAME * count:
            raise _damaged()
        allowed = limits.RATIO_FREE_BYTES + limits.MAX_RATIO * len(self._data)
        if self._size > min(allowed, limits.MAX_EXPANDED_BYTES):
            raise errors.LimitExceeded("The help file expands to more than it may.", hint="Unpack it, as 7-Zip can.")
        _, offset, length = self._parts[f"{_SPACE}Content"]
        self._packed = self._data[self._content + offset : self._content + offset + length]

    def _unpack(self, piece: int) -> bytes:
        """What lies between two restarts."""
        first = piece * self._every
        size = min(self._step, self._size - piece * self._step)
        if size <= 0 or first >= len(self._frames):
            return b""
        ends = self._frames[first + self._every : first + self._every + 1] or [len(self._packed)]
        try:
            return lzx.Decoder(self._packed[self._frames[first] : ends[0]], self._window).read(size)
        except lzx.Broken:
            raise _damaged() from None


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _encoded(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where the next begins."""
    value = 0
    for place in range(at, min(at + 9, len(data))):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    raise _damaged()


def _damaged() -> errors.DamagedDocument:
    return errors.DamagedDocument("The help file is damaged or cut off.")


class ChmParser:
    """Reads compiled help files."""

    name = "chm"
    media_types = (formats.CHM,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """A page per topic, labelled with its title. Raises ``errors.DamagedDocument``, ``LimitExceeded``."""
        book = Help(path.read_bytes())
        topics = book.topics()
        yield Header(self.name, formats.CHM, "", len(topics))
        for number in range(first_page, len(topics) + 1):
            yield _page(book, topics[number - 1], number)


def _page(book: Help, name: str, number: int) -> Page:
    try:
        title, page = html.convert(html.read(book.read(name)).text)
    except errors.UnreadableDocument as error:
        return Page(number, "", problem=error.problem())
    return page.build(number, " ".join(title.split())[:200])
