"""Pictures that decorate a mail: its text shows them, or they are too small to say anything."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

#: Pictures that have a content id, as those that texts show have, and are smaller than this are logos, bytes.
_LOGO_BYTES = 5_000
#: Pictures both of whose sides are below this are icons, pixels.
_ICON_SIDE = 64
_REFERENCE = re.compile(r"\bcid:([^\"'\s<>()]{1,300})", re.I)


def shown_by(markups: Iterable[str]) -> frozenset[str]:
    """The content ids of what these texts (HTML, or what became of it) show."""
    return frozenset(unquote(found) for markup in markups for found in _REFERENCE.findall(markup))


def decorates(data: bytes, content_id: str, shown: frozenset[str]) -> bool:
    """True for an attached picture that is no document that somebody sent."""
    name = content_id.strip().strip("<>")
    return (name != "" and (name in shown or len(data) < _LOGO_BYTES)) or _is_icon(data)


def _is_icon(data: bytes) -> bool:
    """By the header of a PNG or a GIF."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        sides = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    elif data.startswith((b"GIF87a", b"GIF89a")) and len(data) >= 10:
        sides = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    else:
        return False
    return max(sides) < _ICON_SIDE
