"""The compression of RTF in Outlook messages ([MS-OXRTFCP]): a ring of 4 KiB that begins with usual RTF words."""

from __future__ import annotations

from datadistiller import errors
from datadistiller.parsing import limits
from datadistiller.parsing.office.ole import u16, u32

_START = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    b"SymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u"
    b"\\tab\\tx"
)
_RING = 4096
_STORED, _PACKED = 0x414C_454D, 0x7546_5A4C


def unpack(data: bytes) -> bytes:
    """The RTF in ``data``. Raises ``errors.DamagedDocument``, ``LimitExceeded``."""
    size, kind = u32(data, 4), u32(data, 8)
    if size > limits.MAX_MESSAGE_BYTES:
        raise errors.LimitExceeded(f"The message is larger than {limits.MAX_MESSAGE_BYTES >> 20} MiB.")
    if kind == _STORED:
        return data[16 : 16 + size]
    if kind != _PACKED:
        raise errors.DamagedDocument("The Outlook message is damaged: its text cannot be unpacked.")
    return _unpacked(data[16:], size)


def _unpacked(data: bytes, size: int) -> bytes:
    ring = bytearray(_START.ljust(_RING, b"\0"))
    at = len(_START)
    out = bytearray()
    place = 0
    while place < len(data) and len(out) < size:
        flags = data[place]
        place += 1
        for bit in range(8):
            if flags >> bit & 1:
                pair = u16(data[place : place + 2][::-1], 0)
                place += 2
                start, run = pair >> 4, (pair & 15) + 2
                if start == at:
                    return bytes(out)
            else:
                start, run = -1, 1
            for i in range(run):
                byte = ring[(start + i) % _RING] if start >= 0 else (data[place : place + 1] or b"\0")[0]
                ring[at] = byte
                at = (at + 1) % _RING
                out.append(byte)
            place += start < 0
            if place >= len(data):
                break
    return bytes(out[:size])
