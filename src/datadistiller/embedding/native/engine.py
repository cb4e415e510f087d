"""Calls the native engine through ctypes, which releases the interpreter's lock while it computes."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadistiller import errors
from datadistiller.embedding import weights as weights_file
from datadistiller.embedding.native import build

#: What the library must answer; raised on both sides whenever a function or the arithmetic changes.
INTERFACE = 3
#: The sets of kernels there are; ``auto`` takes the fastest that the processor has, and never ``reference``.
KERNELS = ("avx512-vnni", "avx-vnni", "avx2", "neon-dot", "reference")
_SAID_BYTES = 512
_DONE, _STOPPED, _REFUSED, _FAILED = range(4)
_SHAPE_NUMBERS = 7


class Stopped(Exception):
    """The work was given up, because its ``Stop`` was set."""


class Stop:
    """Gives up what is being encoded, from any thread; it takes effect between groups of texts."""

    def __init__(self) -> None:
        self.flag = ctypes.c_int32(0)

    def set(self) -> None:
        """From now on whoever is given this stops."""
        self.flag.value = 1


class Engine:
    """One model, open; any number of threads may encode with it at once. It keeps no memory but the mapped file.

    Raises ``errors.SetupError`` if there is no library, the processor has no such kernels, or the file is damaged.
    """

    def __init__(self, weights: Path, kernels: str = "auto", library: Path | None = None) -> None:
        self._library = _load(library or build.LIBRARY)
        said = ctypes.create_string_buffer(_SAID_BYTES)
        handle = self._library.dd_open(bytes(weights), kernels.encode(), said, _SAID_BYTES)
        if not handle:
            raise errors.SetupError(
                said.value.decode(errors="replace"), hint="DATADISTILLER_EMBEDDING_ENGINE=onnx does without it."
            )
        self._handle = ctypes.c_void_p(handle)
        # Not at the interpreter's exit, when a thread may still be encoding.
        weakref.finalize(self, self._library.dd_close, self._handle).atexit = False
        self.kernels: str = self._library.dd_kernels(self._handle).decode()
        numbers = (ctypes.c_int32 * _SHAPE_NUMBERS)()
        self._library.dd_shape(self._handle, numbers)
        _, self.dim, _, _, self.vocabulary, self.window, pooling = numbers
        self.scores = pooling == weights_file.SCORE

    def encode(self, texts: Sequence[Sequence[int]], threads: int = 1, stop: Stop | None = None) -> NDArray[np.float32]:
        """Vectors ``float32[len(texts), dim]`` of texts given as token ids; the same bits whatever is beside a text.

        Raises ``errors.BrokenInvariant`` for a text of no or too many tokens, for an id that is none, and if the model
        scores pairs; ``Stopped`` if ``stop`` was set, and MemoryError.
        """
        return self._run(texts, None, self.dim, threads, stop)

    def score(
        self, pairs: Sequence[Sequence[int]], firsts: Sequence[int], threads: int = 1, stop: Stop | None = None
    ) -> NDArray[np.float32]:
        """The logits ``float32[len(pairs)]`` of pairs, each given as the token ids of both parts and how many of them
        are the first part's. The same bits whatever is beside a pair; raises what ``encode`` raises."""
        if len(firsts) != len(pairs) or not all(0 < n <= len(ids) for n, ids in zip(firsts, pairs, strict=False)):
            raise errors.BrokenInvariant("The first part of a pair is not within it.")
        return self._run(pairs, np.array(firsts, np.int32), 1, threads, stop)[:, 0]

    def _run(
        self,
        texts: Sequence[Sequence[int]],
        firsts: NDArray[np.int32] | None,
        width: int,
        threads: int,
        stop: Stop | None,
    ) -> NDArray[np.float32]:
        if (firsts is not None) != self.scores:
            raise errors.BrokenInvariant("Pairs are for models that score, and for no other.")
        ids, lengths = self._checked(texts)
        out = np.empty((len(texts), width), np.float32)
        said = ctypes.create_string_buffer(_SAID_BYTES)
        outcome = self._library.dd_encode(
            self._handle, ids.ctypes.data, len(ids), lengths.ctypes.data,
            None if firsts is None else firsts.ctypes.data, len(lengths), out.ctypes.data, threads,
            ctypes.byref(stop.flag) if stop else None, said, _SAID_BYTES,
        )  # fmt: skip
        if outcome == _STOPPED:
            raise Stopped
        if outcome == _REFUSED:
            raise errors.BrokenInvariant(said.value.decode(errors="replace"))
        if outcome == _FAILED:
            raise MemoryError(said.value.decode(errors="replace"))
        return out

    def _checked(self, texts: Sequence[Sequence[int]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """All ids in a row, and how many are whose. What is wrong is refused here, before it meets the library."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= self.window:
            raise errors.BrokenInvariant(f"A text has no token, or more than {self.window}.")
        try:
            ids = np.fromiter(chain.from_iterable(texts), np.int64, int(lengths.sum()))
        except (TypeError, ValueError, OverflowError) as error:
            raise errors.BrokenInvariant("A token id is no whole number.") from error
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.vocabulary:
            raise errors.BrokenInvariant(f"A token id is not in 0..{self.vocabulary - 1}.")
        return ids.astype(np.int32), lengths.astype(np.int32)


def _load(path: Path) -> ctypes.CDLL:
    hint = (
        "Install a C++ compiler (g++) and run 'python -m datadistiller.embedding.native.build'; "
        "meanwhile ONNX Runtime takes its place."
    )
    if not path.exists():
        raise errors.SetupError("The native embedding engine has not been compiled.", hint=hint)
    try:
        library = ctypes.CDLL(str(path))
        library.dd_interface.restype = ctypes.c_int32
        current = library.dd_interface() == INTERFACE
    except (OSError, AttributeError) as error:
        raise errors.SetupError(f"The native embedding engine cannot be loaded ({error}).", hint=hint) from error
    if not current:
        raise errors.SetupError("The native embedding engine was compiled from other sources.", hint=hint)
    _declare(library)
    return library


def _declare(library: Any) -> None:
    pointer, number, large, text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_char_p
    library.dd_open.restype, library.dd_open.argtypes = pointer, [text, text, text, ctypes.c_size_t]
    library.dd_close.restype, library.dd_close.argtypes = None, [pointer]
    library.dd_kernels.restype, library.dd_kernels.argtypes = text, [pointer]
    library.dd_shape.restype, library.dd_shape.argtypes = None, [pointer, ctypes.POINTER(number)]
    library.dd_encode.restype = number
    library.dd_encode.argtypes = [
        pointer, pointer, large, pointer, pointer, large, pointer, number, ctypes.POINTER(number), text,
        ctypes.c_size_t,
    ]  # fmt: skip
