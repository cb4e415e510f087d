"""Members of a ZIP file without its directory, which may be lost: each is found by what stands in front of it."""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from datadistiller import errors
from datadistiller.parsing import limits

_MARK = b"PK\x03\x04"
_MARKS = (_MARK, b"PK\x01\x02", b"PK\x05\x06", b"PK\x07\x08")
#: Flags, method, size as it is packed, lengths of name and extra field; fields that are not needed are passed over.
_HEADER = struct.Struct("<4x2xHH4x4xI4xHH")
_STORED, _DEFLATED, _ENCRYPTED = 0, 8, 1
_PIECE = 1 << 16


def members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Name and contents of the members whose name is wanted, in the order of the file; of a broken one its beginning.

    Raises ``errors.LimitExceeded`` if they expand to more than they may. Encrypted ones are passed over.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        left = min(limits.MAX_EXPANDED_BYTES, limits.RATIO_FREE_BYTES + limits.MAX_RATIO * len(data))
        at = data.find(_MARK)
        for _ in range(limits.MAX_ENTRIES):
            if not 0 <= at <= len(data) - _HEADER.size:
                return
            flags, method, size, name_length, extra_length = _HEADER.unpack_from(data, at)
            begin = at + _HEADER.size + name_length + extra_length
            name = data[at + _HEADER.size : at + _HEADER.size + name_length].decode("utf-8", "replace")
            after = begin + size
            known = size > 0 and data[after : after + 4] in _MARKS
            at = after if known and data[after : after + 4] == _MARK else data.find(_MARK, after if known else begin)
            if wanted(name) and not flags & _ENCRYPTED:
                end = after if known else len(data) if method == _DEFLATED or at < 0 else at
                content = _content(data, begin, end, method, left)
                left -= len(content)
                yield name, content


def _content(data: mmap.mmap, begin: int, end: int, method: int, most: int) -> bytes:
    if method == _STORED:
        return data[begin : min(end, begin + most)]
    if method != _DEFLATED:
        return b""
    unpacking, parts, length = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    try:
        while begin < end and not unpacking.eof:
            parts.append(unpacking.decompress(data[begin : min(begin + _PIECE, end)], most - length + 1))
            length += len(parts[-1])
            if length > most:
                raise errors.LimitExceeded(f"The file expands to more than {limits.MAX_RATIO} times its size.")
            begin += _PIECE
    except zlib.error:  # what came before is worth having
        pass
    return b"".join(parts)
