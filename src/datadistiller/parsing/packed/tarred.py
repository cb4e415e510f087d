"""TAR archives and compressed files (gzip, bzip2, xz), which often are one around the other."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from datadistiller import errors
from datadistiller.parsing import Attachment, Header, Item, formats, limits
from datadistiller.parsing.attaching import clean_path
from datadistiller.parsing.packed.listing import Listing
from datadistiller.parsing.packed.zipped import no_file, too_many

_ENDINGS = {formats.GZIP: (".gz", ".gzip"), formats.BZIP2: (".bz2",), formats.XZ: (".xz",)}
_DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError)
_BLOCK = 512


class TarParser:
    """Reads TAR archives, compressed or not, and single compressed files."""

    name = "tar"
    media_types = (formats.TAR, formats.GZIP, formats.BZIP2, formats.XZ)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """The files in it, then one page that lists them. Raises ``errors.DamagedDocument``, ``EmptyDocument``."""
        if not path.stat().st_size:
            raise errors.EmptyDocument
        yield Header(self.name, media_type, "", 1)
        with ExitStack() as stack:
            source: IO[bytes] = stack.enter_context(path.open("rb"))
            if media_type != formats.TAR:
                allowed = limits.RATIO_FREE_BYTES + limits.MAX_RATIO * path.stat().st_size
                raw = _Limited(_decompressed(source, media_type), min(allowed, limits.MAX_EXPANDED_BYTES))
                source = expanded = stack.enter_context(io.BufferedReader(raw, limits.PIECE_BYTES))
                try:
                    packed = _is_tar(expanded.peek(_BLOCK))
                except _DAMAGE as error:
                    raise errors.DamagedDocument("The compressed file is damaged.") from error
                if not packed:
                    yield from _single(source, _inner_name(path.name, media_type))
                    return
            yield from _members(source)


def _single(source: IO[bytes], name: str) -> Iterator[Item]:
    """A compressed file that is no archive holds one file."""
    yield Attachment(name, _pieces(source))
    yield Listing([(clean_path(name), None)]).page(1)


def _members(source: IO[bytes]) -> Iterator[Item]:
    """What lies in the archive, in one pass. Damage in the middle ends it: what came before stays."""
    listing = Listing()
    count = 0
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            for member in archive:
                if member.isdir():
                    continue
                count += 1
                if count > limits.MAX_MEMBERS:
                    yield too_many()
                    break
                listing.add(clean_path(member.name), member.size)
                yield _attachment(archive, member)
    except errors.LimitExceeded as error:
        yield Attachment("and more", problem=error.problem())
    except _DAMAGE as error:
        if not count:
            raise errors.DamagedDocument("The archive is damaged or cut off.") from error
        rest = errors.DamagedDocument("The archive is damaged or cut off here; what follows was not read.")
        yield Attachment("and more", problem=rest.problem())
    if not count:
        raise errors.EmptyDocument("There is no file in the archive.")
    yield listing.page(1)


def _attachment(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Attachment:
    if not member.isreg():
        what = "a link" if member.issym() or member.islnk() else "a device"
        return Attachment(member.name, problem=no_file(what))
    stream = archive.extractfile(member)
    return Attachment(member.name, _pieces(stream) if stream else (), member.size)


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(limits.PIECE_BYTES):
        yield piece


def _decompressed(source: IO[bytes], media_type: str) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    if media_type == formats.GZIP:
        return gzip.GzipFile(fileobj=source)
    if media_type == formats.BZIP2:
        return bz2.BZ2File(source)
    return lzma.LZMAFile(source)


def _inner_name(name: str, media_type: str) -> str:
    """The name of the file in a compressed one: its own without the last ending."""
    for ending in _ENDINGS[media_type]:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return f"{name}.unpacked"


def _is_tar(block: bytes) -> bool:
    """By the checksum in the header: old archives have no magic."""
    if len(block) < _BLOCK:
        return False
    try:
        tarfile.TarInfo.frombuf(block[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


class _Limited(io.RawIOBase):
    """What comes out of a decompressor, up to a limit: skipping a member of a compressed archive expands it too."""

    def __init__(self, stream: gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile, allowed: int) -> None:
        self._stream = stream
        self._left = allowed

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Raises ``errors.LimitExceeded``."""
        piece = self._stream.read(len(buffer))
        self._left -= len(piece)
        if self._left < 0:
            raise errors.LimitExceeded(
                "What follows was not read: the file expands to more than it may.",
                hint="Unpack it, and upload what is in it.",
            )
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """Closes the decompressor too."""
        self._stream.close()
        super().close()
