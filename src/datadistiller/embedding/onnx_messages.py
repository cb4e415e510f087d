"""Just enough of ONNX's file format (protocol buffers) to write a graph, without the ``onnx`` package.

Each function gives the bytes of one message of onnx.proto; the numbers in it are that file's field numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, UINT8, INT8, INT32, INT64 = 1, 2, 3, 6, 7  # TensorProto.DataType
_TYPES = {"float32": FLOAT, "uint8": UINT8, "int8": INT8, "int32": INT32, "int64": INT64}
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_INTS = 1, 2, 7  # AttributeProto.AttributeType
_VARINT, _BYTES, _FIXED32 = 0, 2, 5  # wire types


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # negative numbers are two's complement
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _block(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def _blocks(field: int, contents: Iterable[bytes | str]) -> bytes:
    return b"".join(_block(field, content) for content in contents)


def tensor(name: str, array: NDArray[Any]) -> bytes:
    """TensorProto: a constant."""
    dims = b"".join(_number(1, size) for size in array.shape)
    return dims + _number(2, _TYPES[array.dtype.name]) + _block(8, name) + _block(9, array.tobytes())


def _attribute(name: str, value: float | Sequence[int]) -> bytes:
    head = _block(1, name)
    if isinstance(value, float):
        return head + _varint(2 << 3 | _FIXED32) + np.float32(value).tobytes() + _number(20, _ATTRIBUTE_FLOAT)
    if isinstance(value, int):
        return head + _number(3, value) + _number(20, _ATTRIBUTE_INT)
    return head + b"".join(_number(8, each) for each in value) + _number(20, _ATTRIBUTE_INTS)


def node(operator: str, inputs: Iterable[str], outputs: Iterable[str], attributes: dict[str, Any]) -> bytes:
    """NodeProto: one operator."""
    made = [_attribute(name, value) for name, value in attributes.items()]
    return _blocks(1, inputs) + _blocks(2, outputs) + _block(4, operator) + _blocks(5, made)


def value(name: str, element: int, dims: Iterable[int | str]) -> bytes:
    """ValueInfoProto: an input or output; a dimension may have a name instead of a size."""
    sizes = [_number(1, size) if isinstance(size, int) else _block(2, size) for size in dims]
    shape = _blocks(1, sizes)
    return _block(1, name) + _block(2, _block(1, _number(1, element) + _block(2, shape)))


def model(
    name: str,
    nodes: Iterable[bytes],
    constants: Iterable[bytes],
    inputs: Iterable[bytes],
    outputs: Iterable[bytes],
    *,
    opset: int,
    ir_version: int,
) -> bytes:
    """ModelProto: the whole file."""
    graph = b"".join(
        [_blocks(1, nodes), _block(2, name), _blocks(5, constants), _blocks(11, inputs), _blocks(12, outputs)]
    )
    return _number(1, ir_version) + _block(7, graph) + _block(8, _number(2, opset))
