"""LZX, the compression of compiled help files. Sources: Microsoft's [MS-PATCH], the documentation of libmspack.

A stream is cut into frames of 32 KiB (unpacked); at every so many of them the decoder starts anew. Bits are taken from
words of 16 bits, little endian, from the top. The translation of calls in programs is left out: nobody searches those.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Unpacked bytes of a frame.
FRAME = 32_768
_SLOTS = {15: 30, 16: 32, 17: 34, 18: 36, 19: 38, 20: 42, 21: 50}  # of positions, by the bits of the window
_VERBATIM, _ALIGNED, _UNCOMPRESSED = 1, 2, 3
_LENGTHS, _PRETREE, _MAX_CODE = 249, 20, 16
_EXTRA = [0 if slot < 4 else min(17, slot // 2 - 1) for slot in range(50)]
_BASE = [sum(1 << extra for extra in _EXTRA[:slot]) for slot in range(50)]

#: For every 16 bits that may come: the symbol, and how many of the bits are its code.
Tree = list[tuple[int, int]]


class Broken(Exception):
    """The stream does not keep to the form."""


class _Bits:
    """The bits of a stream; behind its end there are zeros, but not many."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self._value = self._count = 0

    def peek(self) -> int:
        """The next 16 bits."""
        while self._count < _MAX_CODE:
            if self.at > len(self.data) + 8:
                raise Broken
            self._value = self._value << 16 | int.from_bytes(self.data[self.at : self.at + 2], "little")
            self.at, self._count = self.at + 2, self._count + 16
        return self._value >> (self._count - 16) & 0xFFFF

    def skip(self, count: int) -> None:
        """Takes up to 16 bits that were looked at."""
        self._count -= count
        self._value &= (1 << self._count) - 1

    def take(self, count: int) -> int:
        """A number of so many bits."""
        value = 0
        while count:
            part = min(count, _MAX_CODE)
            value = value << part | self.peek() >> (16 - part)
            self.skip(part)
            count -= part
        return value

    def symbol(self, tree: Tree) -> int:
        """The next symbol of a tree."""
        symbol, length = tree[self.peek()]
        if not length:
            raise Broken
        self.skip(length)
        return symbol

    def align(self) -> None:
        """To the next word."""
        self.skip(self._count % 16)

    def bytes_from_here(self) -> int:
        """Where the bytes behind the padding begin; afterwards ``at`` is to be set."""
        if self._count % 16 == 0:
            self.take(16)
        self.align()
        start = self.at - self._count // 8
        self._value = self._count = 0
        return start


class Decoder:
    """Unpacks what was packed between two restarts."""

    def __init__(self, data: bytes, window_bits: int) -> None:
        if window_bits not in _SLOTS:
            raise Broken
        self._bits = _Bits(data)
        self._main = [0] * (256 + 8 * _SLOTS[window_bits])
        self._length = [0] * _LENGTHS
        self._recent = [1, 1, 1]
        self._trees: tuple[Tree, Tree, Tree] = ([], [], [])
        self._kind = self._left = 0
        self._out = bytearray()
        self._started = False

    def read(self, size: int) -> bytes:
        """The first ``size`` bytes. Raises ``Broken``."""
        if not self._started:
            self._started = True
            if self._bits.take(1):
                self._bits.take(32)
        while len(self._out) < size:
            end = min(size, (len(self._out) // FRAME + 1) * FRAME)
            while len(self._out) < end:
                if not self._left:
                    self._block()
                self._run(end)
            if len(self._out) % FRAME == 0 and self._kind != _UNCOMPRESSED:
                self._bits.align()
        return bytes(self._out[:size])

    def _block(self) -> None:
        """The header of a block, with its trees."""
        bits = self._bits
        self._kind, self._left = bits.take(3), bits.take(24)
        if self._kind == _UNCOMPRESSED:
            bits.at = bits.bytes_from_here()
            for n in range(3):
                self._recent[n] = int.from_bytes(bits.data[bits.at + 4 * n : bits.at + 4 * n + 4], "little")
            bits.at += 12
            return
        if self._kind not in (_VERBATIM, _ALIGNED):
            raise Broken
        aligned = _tree([bits.take(3) for _ in range(8)]) if self._kind == _ALIGNED else []
        self._read_lengths(self._main, 0, 256)
        self._read_lengths(self._main, 256, len(self._main))
        self._read_lengths(self._length, 0, _LENGTHS)
        self._trees = _tree(self._main), _tree(self._length), aligned

    def _read_lengths(self, lengths: list[int], at: int, end: int) -> None:
        """How long the codes of a tree are, as differences to those of the block before."""
        bits = self._bits
        tree = _tree([bits.take(4) for _ in range(_PRETREE)])
        while at < end:
            code = bits.symbol(tree)
            if code < 17:
                run, value = 1, (lengths[at] - code) % 17
            elif code < 19:
                run, value = (bits.take(4) + 4, 0) if code == 17 else (bits.take(5) + 20, 0)
            else:
                run = bits.take(1) + 4
                value = (lengths[at] - bits.symbol(tree)) % 17
            run = min(run, end - at)
            lengths[at : at + run] = [value] * run
            at += run

    def _run(self, end: int) -> None:
        """Goes on with a block until it or the frame ends."""
        out, bits, before = self._out, self._bits, len(self._out)
        if self._kind == _UNCOMPRESSED:
            size = min(self._left, end - before)
            out += bits.data[bits.at : bits.at + size]
            if len(out) < before + size:
                raise Broken
            bits.at += size
            self._left -= size
            bits.at += bits.at % 2 if not self._left else 0
            return
        main, stop = self._trees[0], min(end, before + self._left)
        while len(out) < stop:
            symbol = bits.symbol(main)
            if symbol < 256:
                out.append(symbol)
            else:
                self._copy(symbol - 256)
        self._left -= len(out) - before
        if self._left < 0:
            raise Broken

    def _copy(self, symbol: int) -> None:
        length = (symbol & 7) + 2
        if length == 9:
            length += self._bits.symbol(self._trees[1])
        offset = self._offset(symbol >> 3)
        start = len(self._out) - offset
        if offset <= 0 or start < 0:
            raise Broken
        piece = self._out[start : start + length]
        self._out += (piece * (length // len(piece) + 1))[:length]

    def _offset(self, slot: int) -> int:
        recent, bits = self._recent, self._bits
        if slot < 3:
            recent[0], recent[slot] = recent[slot], recent[0]
            return recent[0]
        extra = _EXTRA[slot]
        if self._kind == _ALIGNED and extra >= 3:
            value = bits.take(extra - 3) << 3 | bits.symbol(self._trees[2])
        else:
            value = bits.take(extra)
        recent[:] = [_BASE[slot] - 2 + value, *recent[:2]]
        return recent[0]


def _tree(lengths: Sequence[int]) -> Tree:
    """The codes of these lengths: shorter ones first, then by symbol. One that is not whole has gaps."""
    table: Tree = []
    for length in range(1, _MAX_CODE + 1):
        share = 1 << (_MAX_CODE - length)
        for symbol, own in enumerate(lengths):
            if own == length:
                table += [(symbol, length)] * share
                if len(table) > 1 << _MAX_CODE:
                    raise Broken
    return table + [(0, 0)] * ((1 << _MAX_CODE) - len(table))
