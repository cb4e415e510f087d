"""Calls the compiled loop through ctypes."""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

from datadistiller.parsing.native import build

#: Longer texts are read in Python: the loop needs memory for as many words as there could be.
MOST_CHARS = 1_000_000
#: What the library must answer; raised on both sides whenever a function changes.
INTERFACE = 1
#: A line of ``words.c``.
_LINE = struct.Struct("4i9d")
_FUNCTIONS = (
    "FPDFText_GetLooseCharBox", "FPDFText_GetCharIndexFromTextIndex", "FPDFText_GetFontSize", "FPDFText_GetMatrix",
    "FPDFText_GetFontWeight", "FPDFText_GetFontInfo", "FPDFText_GetCharOrigin",
)  # fmt: skip


class Words(NamedTuple):
    """Of each word: from where to where it stands in its line, and pdfium's number of its first character.

    ``lines``: as the fields of ``pdf_words.Line``.
    """

    lefts: list[float]
    rights: list[float]
    firsts: array[int]
    lines: Iterator[tuple[Any, ...]]


class _Found(ctypes.Structure):
    _fields_ = (
        ("most", ctypes.c_int64),
        ("left", ctypes.c_void_p),
        ("right", ctypes.c_void_p),
        ("at", ctypes.c_void_p),
        ("length", ctypes.c_void_p),
        ("lines", ctypes.c_void_p),
        ("line_count", ctypes.c_int64),
    )


class _Frame(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_double),
        ("height", ctypes.c_double),
        ("left", ctypes.c_double),
        ("bottom", ctypes.c_double),
        ("quarters", ctypes.c_int32),
    )


class Loop:
    """The library, loaded. ``functions`` are the addresses of pdfium's, in the order of ``words.c``. Raises ``OSError``
    if it is not there, cannot be loaded, or is of other sources."""

    def __init__(self, library: Path = build.LIBRARY, functions: tuple[int, ...] | None = None) -> None:
        self._library = ctypes.CDLL(str(library))
        try:
            current = self._library.ddw_interface() == INTERFACE
        except AttributeError:
            current = False
        if not current:
            raise OSError("The loop over words was compiled from other sources.")
        addresses = functions or tuple(_address(getattr(pdfium, name)) for name in _FUNCTIONS)
        self._functions = (ctypes.c_void_p * len(_FUNCTIONS))(*addresses)
        pointer = ctypes.c_void_p
        self._library.ddw_words.restype = ctypes.c_int64
        self._library.ddw_words.argtypes = [pointer, pointer, pointer, ctypes.c_int64, pointer, pointer, pointer]
        self._library.ddw_places.restype = None
        self._library.ddw_places.argtypes = [pointer, pointer, pointer, ctypes.c_int64, pointer]

    def words(self, page: Any, text: str, frame: tuple[float, float, float, float, int], same: bool) -> Words:
        """The words of a text page (pdfium's handle of it) with this text, of at most ``MOST_CHARS``.

        ``frame``: as ``pdf_words.Frame``. ``same``: pdfium's numbers of characters are those of the text.
        """
        raw = text.encode("utf-32-le", "surrogatepass")
        places = None if same else self._places(page, raw, len(text))
        most = (len(text) + 1) // 2
        left, right = (array("d", bytes(8 * most)) for _ in range(2))
        at, length = (array("i", bytes(4 * most)) for _ in range(2))
        lines = bytearray(_LINE.size * most)
        held = (ctypes.c_char * len(lines)).from_buffer(lines)
        found = _Found(most, _at(left), _at(right), _at(at), _at(length), ctypes.addressof(held), 0)
        count = self._library.ddw_words(
            self._functions, page, raw, len(text), None if places is None else _at(places),
            ctypes.byref(_Frame(*frame)), ctypes.byref(found),
        )  # fmt: skip
        if not 0 <= count <= most:
            raise AssertionError("A text has more words than it can have.")
        used = memoryview(lines)[: found.line_count * _LINE.size]
        return Words(left[:count].tolist(), right[:count].tolist(), at[:count], _LINE.iter_unpack(used))

    def _places(self, page: Any, raw: bytes, length: int) -> array[int]:
        places = array("i", bytes(4 * length))
        self._library.ddw_places(self._functions, page, raw, length, _at(places))
        return places


def _at(numbers: array[Any]) -> int:
    return numbers.buffer_info()[0]


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


@cache
def loaded() -> Loop | None:
    """The loop, where it is compiled from these sources."""
    try:
        return Loop()
    except OSError:
        return None
