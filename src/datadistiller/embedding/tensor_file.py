"""Reads files of tensors as they are published (safetensors): the length of a header, the header in JSON, the numbers.

Nothing that a header says is believed before it fits the file; only tensors that are asked for are read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadistiller import errors

#: Largest header read, bytes. One of two hundred tensors has 25,000.
MAX_HEADER = 8_000_000
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class TensorFile:
    """An open file, mapped. Raises ``errors.SetupError`` for one that is missing or not as its header says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            memory = np.memmap(path, np.uint8, "r")
        except (OSError, ValueError) as error:
            raise self._refused("cannot be read") from error
        size = int.from_bytes(memory[:8].tobytes(), "little")
        if len(memory) < 8 or size > min(MAX_HEADER, len(memory) - 8):
            raise self._refused("is not a safetensors file, or incomplete")
        try:
            self._header: dict[str, Any] = json.loads(memory[8 : 8 + size].tobytes())
            self._header.pop("__metadata__", None)
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise self._refused("has a header that cannot be read") from error
        self._numbers = memory[8 + size :]

    @property
    def names(self) -> Collection[str]:
        """The tensors there are."""
        return self._header.keys()

    def read(self, name: str, *dims: int) -> NDArray[np.float32]:
        """The tensor of that name and of these dimensions, as a copy; only finite numbers are let in."""
        if name not in self._header:
            raise self._refused(f"holds no tensor {name}")
        try:
            facts = self._header[name]
            kind, shape, (start, end) = facts["dtype"], tuple(facts["shape"]), facts["data_offsets"]
            if kind not in _TYPES:
                raise self._refused(f"holds {name} as {kind!s:.20}, not as F32, F16 or BF16")
            if shape != dims:
                raise self._refused(f"holds {name} with the dimensions {shape!s:.60}, not {dims}")
            dtype = np.dtype(_TYPES[kind])
            if not 0 <= start <= end <= len(self._numbers) or end - start != math.prod(dims) * dtype.itemsize:
                raise self._refused(f"does not hold the tensor {name} where it says")
            stored = np.frombuffer(self._numbers[start:end].tobytes(), dtype).reshape(dims)
        except (KeyError, TypeError, ValueError) as error:
            raise self._refused(f"describes the tensor {name} in a way that cannot be read") from error
        if kind == "BF16":  # the upper half of a float
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        tensor: NDArray[np.float32] = stored.astype(np.float32)
        if not np.isfinite(tensor).all():
            raise self._refused(f"holds numbers in {name} that are not finite")
        return tensor

    def _refused(self, what: str) -> errors.SetupError:
        return errors.SetupError(
            f"The file {self._path} {what}.", hint="Fetch the model again, with model.safetensors."
        )
