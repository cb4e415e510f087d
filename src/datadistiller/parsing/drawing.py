"""Pictures of pages: which formats have them, how a cited place is marked, and PNG. Only the confined child draws.

A drawing function gets the path, the media type, the page's number (from 1), the wanted width and the most pixels,
and gives a ``Raster``. It raises an ``errors.UnreadableDocument`` for what is wrong with the file; anything else counts
as damage.
"""

from __future__ import annotations

import importlib
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datadistiller import errors
from datadistiller.parsing import formats

#: Parts of a page's width and height are sent and drawn in this unit: one in so many.
PARTS = 10_000

#: Left, top, right, bottom of a place to be marked, in ``PARTS`` of the page.
Mark = tuple[int, int, int, int]

#: Media type -> module of this package with a function ``draw``.
DRAWN = {
    formats.PDF: "pdf.drawing",
    formats.PNG: "pictures.picture_drawing",
    formats.JPEG: "pictures.picture_drawing",
    formats.TIFF: "pictures.picture_drawing",
    formats.WEBP: "pictures.picture_drawing",
    formats.BMP: "pictures.picture_drawing",
    formats.GIF: "pictures.picture_drawing",
    formats.JP2: "pictures.picture_drawing",
}

#: How every PNG begins.
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEVEL = 3  # of zlib: a page of a filing takes 7 ms and 130 kB at 1,000 pixels; the best level a tenth less in 60 ms
#: Of red, green and blue: what is kept, and what is added. White turns yellow, black dark brown: both stay readable.
_TINT = ((0.80, 51), (0.80, 40), (0.45, 0))
_TABLES = tuple(bytes(min(255, round(kept * value + added)) for value in range(256)) for kept, added in _TINT)


@dataclass(slots=True)
class Raster:
    """A picture: ``pixels`` are ``height`` rows of ``width`` times red, green, blue, a byte each, without gaps."""

    width: int
    height: int
    pixels: bytearray


Draw = Callable[[Path, str, int, int, int], Raster]


def drawable(media_type: str) -> bool:
    """Whether documents of this type have pictures of their pages."""
    return media_type in DRAWN


def picture(
    path: Path, media_type: str, page: int, width: int, most_pixels: int, marks: Iterable[Sequence[int]]
) -> bytes:
    """The PNG of a page, ``width`` pixels wide or less, with the marks on it."""
    if media_type not in DRAWN:
        raise errors.UnsupportedType(f"Nothing draws {media_type}.")
    draw: Draw = importlib.import_module(f"datadistiller.parsing.{DRAWN[media_type]}").draw
    raster = draw(path, media_type, page, width, most_pixels)
    for place in marks:
        tint(raster, place)
    return png(raster)


def fitting(width: float, height: float, wanted: int, most_pixels: int) -> float:
    """How many pixels a unit of the page becomes, so that it is as wide as wanted and has not too many pixels."""
    return min(wanted / width, math.sqrt(most_pixels / width / height))


def mark(rect: Sequence[float], width: float, height: float) -> Mark:
    """The mark of a rectangle (left, top, right, bottom) on a page of that size."""
    left, top = math.floor(rect[0] / width * PARTS), math.floor(rect[1] / height * PARTS)
    return left, top, math.ceil(rect[2] / width * PARTS), math.ceil(rect[3] / height * PARTS)


def tint(raster: Raster, place: Sequence[int]) -> None:
    """Colours what is marked as a highlighter does, to the next whole pixel outwards."""
    left, right = _covered(place[0], place[2], raster.width)
    top, bottom = _covered(place[1], place[3], raster.height)
    for row in range(top, bottom):
        begin, end = 3 * (row * raster.width + left), 3 * (row * raster.width + right)
        for channel, table in enumerate(_TABLES):
            at = slice(begin + channel, end, 3)
            raster.pixels[at] = raster.pixels[at].translate(table)


def _covered(low: int, high: int, size: int) -> tuple[int, int]:
    return max(0, low * size // PARTS), min(size, -(-high * size // PARTS))


def png(raster: Raster) -> bytes:
    """The picture as a file (RFC 2083): eight bits a channel, rows as they are."""
    stride = 3 * raster.width
    view = memoryview(raster.pixels)
    packer = zlib.compressobj(_LEVEL)
    parts: list[bytes] = []
    for row in range(raster.height):
        parts += (packer.compress(b"\0"), packer.compress(view[row * stride : (row + 1) * stride]))
    parts.append(packer.flush())
    head = struct.pack(">IIBBBBB", raster.width, raster.height, 8, 2, 0, 0, 0)
    return b"".join((SIGNATURE, _part(b"IHDR", head), _part(b"IDAT", b"".join(parts)), _part(b"IEND", b"")))


def _part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
