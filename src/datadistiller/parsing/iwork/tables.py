"""The tables of iWork documents since 2013: rows of cells, whose texts lie in lists of their own.

A cell begins with its version. Up to 4 (until 2018): type at 1 (2 before version 4), flags at 4, values from 12 (8
before version 2). Version 5: type at 1, flags at 8, values from 12. Each flag stands for a value, in an order of their
own. Sources: numbers-parser, SheetJS.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from datadistiller.parsing.iwork.iwa import Message, Objects, double

T = TypeVar("T")
_SEGMENT_ENTRIES = 3
_ZERO = datetime(2001, 1, 1)
_BIAS = 0x1820  # of the exponent of a decimal
_LAST_OLD, _PERCENT = 4, 258


class Table:
    """One table (``TST.TableModelArchive``). ``rich`` gives the text of a storage by its number."""

    def __init__(self, objects: Objects, model: Message, rich: Callable[[int], str]) -> None:
        self._objects = objects
        self._store = model.message(4)
        self.name = " ".join(model.text(8).split()) if model.number(22) else ""
        self._texts = dict(self._entries(4, lambda entry: entry.text(3)))
        payloads = self._entries(17, lambda entry: objects.get(entry.reference(9)).reference(1))
        self._rich = {key: rich(storage) for key, storage in payloads}
        self._formats = dict(self._entries(22, lambda entry: entry.message(6).number(1)))

    def rows(self) -> Iterator[list[str]]:
        """The rows, in order; a gap in their numbers is one empty row, however long it is."""
        tiles = self._store.message(3)
        height, last = tiles.number(2) or 256, -1
        for tile in tiles.messages(1):
            infos = self._objects.get(tile.reference(2)).messages(5)
            for info in sorted(infos, key=lambda info: info.number(1)):
                number = tile.number(1) * height + info.number(1)
                if number > last + 1:
                    yield []
                last = number
                yield self._row(info)

    def _row(self, info: Message) -> list[str]:
        new = bool(info.data(6))
        cells, places = (info.data(6), info.data(7)) if new else (info.data(3), info.data(4))
        scale = 4 if new and info.number(8) else 1
        found: list[str] = []
        for (place,) in struct.iter_unpack("<H", places[: len(places) // 2 * 2]):
            found.append("" if place == 0xFFFF else self._cell(cells[place * scale :][:512]).strip())
        while found and not found[-1]:
            found.pop()
        return found

    def _cell(self, cell: bytes) -> str:
        if len(cell) < 12:
            return ""
        if cell[0] > _LAST_OLD:
            return self._shown(cell[1], _values(cell))
        return self._shown(cell[1 if cell[0] == _LAST_OLD else 2], _old_values(cell))

    def _shown(self, kind: int, values: Mapping[str, float | Decimal]) -> str:
        """What a person sees in a cell, nearly."""
        number = float(values.get("decimal", values.get("double", 0)))
        match kind:
            case 3:
                return self._texts.get(int(values.get("text", -1)), "")
            case 9:
                return self._rich.get(int(values.get("rich", -1)), "")
            case 5:
                return _date(float(values.get("seconds", 0)))
            case 6:
                return "TRUE" if number else "FALSE"
            case 7:  # a duration
                return str(timedelta(seconds=number)) if abs(number) < 1e12 else ""
            case 2 | 10:  # a number, or one with a currency
                percent = self._formats.get(int(values.get("format", -1))) == _PERCENT
                return f"{_digits(number * 100)}%" if percent else _digits(number)
        return ""

    def _entries(self, field: int, value: Callable[[Message], T]) -> Iterator[tuple[int, T]]:
        """(key, value) of one of the store's lists; long ones are in segments."""
        found = self._objects.get(self._store.reference(field))
        lists = [found, *(self._objects.get(number) for number in found.references(4))]
        return ((entry.number(1), value(entry)) for part in lists for entry in part.messages(_SEGMENT_ENTRIES))


def _values(cell: bytes) -> dict[str, float | Decimal]:
    flags, at = int.from_bytes(cell[8:12], "little"), 12
    found: dict[str, float | Decimal] = {}
    if flags & 1:
        found["decimal"], at = _decimal(cell[at : at + 16]), at + 16
    for bit, name in ((1, "double"), (2, "seconds")):
        if flags >> bit & 1:
            found[name], at = double(cell, at), at + 8
    for bit, name in ((3, "text"), (4, "rich"), *((bit, "") for bit in range(5, 13)), (13, "format")):
        if flags >> bit & 1:
            found[name], at = int.from_bytes(cell[at : at + 4], "little"), at + 4
    return found


def _old_values(cell: bytes) -> dict[str, float | Decimal]:
    flags = int.from_bytes(cell[4:8], "little")
    first, second, at = (0x0D8E, 0x3000, 12) if cell[0] > 1 else (0x018E, 0x1000, 8)
    at += 4 * (flags & first).bit_count()
    found: dict[str, float | Decimal] = {}
    if flags & 0x200:
        found["rich"], at = int.from_bytes(cell[at : at + 4], "little"), at + 4
    at += 4 * (flags & second).bit_count()
    if flags & 0x10:
        found["text"], at = int.from_bytes(cell[at : at + 4], "little"), at + 4
    for bit, name in ((0x20, "double"), (0x40, "seconds")):
        if flags & bit:
            found[name], at = double(cell, at), at + 8
    return found


def _decimal(data: bytes) -> Decimal:
    """A decimal of 128 bits, as IEEE 754 has it with a binary mantissa."""
    bits = int.from_bytes(data, "little")
    mantissa = bits & ((1 << 113) - 1)  # a sign, 14 bits of exponent, the rest
    return Decimal(-mantissa if bits >> 127 else mantissa).scaleb((bits >> 113 & 0x3FFF) - _BIAS)


def _digits(number: float) -> str:
    return f"{number:.15g}" if math.isfinite(number) else ""


def _date(seconds: float) -> str:
    try:
        moment = _ZERO + timedelta(seconds=round(seconds))
    except (OverflowError, ValueError):
        return ""
    return moment.strftime("%Y-%m-%d" if moment.time() == moment.min.time() else "%Y-%m-%d %H:%M:%S")
