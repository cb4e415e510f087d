"""The file that holds a model's weights in eight bits, for both engines.

How it is laid out, with a drawing, is told once: ``native/source/layout.h``. This is Python's side of it: the engines
read it, ``conversion.py`` writes it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from datadistiller import errors

MAGIC, FORMAT = b"DDWEIGHT", 1
#: What becomes of the last rows: their mean or the first one as a unit vector, or the score of a pair.
POOLINGS = ("mean", "cls", "score")
SCORE = 2
PANEL, QUAD, PAIR_LIMIT = 64, 4, 128
_ALIGNMENT = 64
_HEADER = struct.Struct("<8sII7IfQII64s128x")  # magic, format, own size, shape, body's size, CRC-32, zero, name
_CRC_PLACE = slice(56, 60)

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers that make up a model of the BERT family, in the header's order."""

    layers: int
    dim: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    pooling: int  # of POOLINGS
    epsilon: float

    @property
    def kinds(self) -> int:
        """Kinds of tokens: a pair's second part is another one."""
        return 2 if self.pooling == SCORE else 1


@dataclass(frozen=True, slots=True)
class Weights:
    """An open file: its parts by name, as views of the file."""

    name: str
    shape: Shape
    parts: Tensors

    def matrix(self, layer: str) -> NDArray[np.int8]:
        """The weights of a linear layer as ``int8[inputs, outputs]``."""
        packed = self.parts[f"{layer}.packed"]
        outputs = len(self.parts[f"{layer}.bias"])
        panels = packed.reshape(outputs // PANEL, -1, PANEL, QUAD)
        return np.ascontiguousarray(panels.transpose(1, 3, 0, 2).reshape(-1, outputs))


def parts(shape: Shape) -> Iterator[tuple[str, DTypeLike, tuple[int, ...]]]:
    """Name, type and dimensions of everything in the file, in its order."""
    dim, inner = shape.dim, shape.inner
    yield "words", np.int8, (shape.vocabulary, dim)
    yield "word_scales", np.float32, (shape.vocabulary,)
    yield "positions", np.float32, (shape.kinds * shape.positions, dim)
    yield from _norm("norm", dim)
    for n in range(shape.layers):
        yield from _linear(f"{n}.attention_in", dim, 3 * dim)
        yield from _linear(f"{n}.attention_out", dim, dim)
        yield from _norm(f"{n}.attention_norm", dim)
        yield from _linear(f"{n}.inner", dim, inner)
        yield from _linear(f"{n}.outer", inner, dim)
        yield from _norm(f"{n}.output_norm", dim)
    if shape.pooling == SCORE:
        yield from _linear("pooler", dim, dim)
        yield "classifier.weights", np.float32, (dim,)
        yield "classifier.bias", np.float32, (1,)


def _norm(name: str, dim: int) -> Iterator[tuple[str, DTypeLike, tuple[int, ...]]]:
    yield f"{name}.gain", np.float32, (dim,)
    yield f"{name}.bias", np.float32, (dim,)


def _linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, DTypeLike, tuple[int, ...]]]:
    yield f"{name}.packed", np.int8, (inputs * outputs,)
    for part in ("scales", "sums", "bias"):
        yield f"{name}.{part}", np.float32, (outputs,)


def quantized_rows(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Each row in eight bits, symmetric, with a scale of its own."""
    scales = np.abs(matrix).max(axis=1) / np.float32(127)
    scales[scales == 0] = 1
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales


def quantized_pairs(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """As ``quantized_rows``, but no two neighbours are together larger than ``PAIR_LIMIT``."""
    size = np.abs(matrix)
    pairs = size[:, 0::2] + size[:, 1::2]
    # Each of the two may be rounded up by half.
    scales = np.maximum(size.max(axis=1) / np.float32(127), pairs.max(axis=1) / np.float32(PAIR_LIMIT - 1))
    scales[scales == 0] = 1
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales


def packed_linear(name: str, matrix: NDArray[np.float32], bias: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The parts of the linear layer ``name`` from ``float32[outputs, inputs]`` and its bias."""
    outputs, inputs = matrix.shape
    rounded, scales = quantized_pairs(matrix)
    panels = rounded.reshape(outputs // PANEL, PANEL, inputs // QUAD, QUAD).transpose(0, 2, 1, 3)
    sums = rounded.sum(axis=1, dtype=np.int32).astype(np.float32)
    return {
        f"{name}.packed": panels.reshape(-1),
        f"{name}.scales": scales,
        f"{name}.sums": sums,
        f"{name}.bias": bias,
    }


def write(path: Path, name: str, shape: Shape, tensors: Tensors) -> None:
    """Writes a weights file; the same tensors give the same bytes."""
    body = bytearray()
    for part, dtype, dims in parts(shape):
        array = np.ascontiguousarray(tensors[part], np.dtype(dtype).newbyteorder("<"))
        if array.shape != dims:
            raise ValueError(f"{part} has the shape {array.shape}, not {dims}")
        body += array.tobytes()
        body += bytes(-len(body) % _ALIGNMENT)
    header = bytearray(_HEADER.pack(MAGIC, FORMAT, _HEADER.size, *astuple(shape), len(body), 0, 0, name.encode()))
    header[_CRC_PLACE] = zlib.crc32(body, zlib.crc32(header)).to_bytes(4, "little")
    path.write_bytes(header + body)


def read(path: Path) -> Weights:
    """Opens a weights file, mapped; ``errors.SetupError`` if it is none, incomplete or damaged (takes about 20 ms)."""
    try:
        memory = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        raise _refused(path, "cannot be read") from error
    if len(memory) < _HEADER.size or bytes(memory[:8]) != MAGIC:
        raise _refused(path, "are no weights")
    body = memory[_HEADER.size :]
    _, version, size, *numbers, body_bytes, crc, _, name = _HEADER.unpack(bytes(memory[: _HEADER.size]))
    if (version, size) != (FORMAT, _HEADER.size):
        raise _refused(path, "have a format of another version")
    whole = bytearray(memory[: _HEADER.size])
    whole[_CRC_PLACE] = bytes(4)
    if len(body) != body_bytes or zlib.crc32(body.data, zlib.crc32(whole)) != crc:
        raise _refused(path, "are damaged or incomplete")
    shape = Shape(*numbers)
    if shape.pooling >= len(POOLINGS):
        raise _refused(path, "are for something that this version does not know")
    try:
        return Weights(name.rstrip(b"\0").decode(), shape, _views(body, shape))
    except ValueError as error:
        raise _refused(path, "are not as their header says") from error


def _views(body: NDArray[np.uint8], shape: Shape) -> Tensors:
    found, at = {}, 0
    for part, dtype, dims in parts(shape):
        size = int(np.prod(dims)) * np.dtype(dtype).itemsize
        found[part] = body[at : at + size].view(dtype).reshape(dims)
        at += size + -size % _ALIGNMENT
    if at != len(body):
        raise ValueError("too long")
    return found


def _refused(path: Path, what: str) -> errors.SetupError:
    return errors.SetupError(f"The weights {path} {what}.", hint="Install datadistiller again.")
