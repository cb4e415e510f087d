"""The native engine for 64-bit ARM, cross-compiled and run under emulation: the same bits as on every other processor.

Needs Debian's ``g++-aarch64-linux-gnu`` and ``qemu-user`` (or ``CXX_AARCH64`` and ``QEMU_AARCH64``); skipped without.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.models import random_model
from datadistiller.embedding import artifact
from datadistiller.embedding.native import build, selfcheck
from datadistiller.embedding.native.engine import Engine
from datadistiller.embedding.weights import Shape
from tests.contracts import native_kit

SOURCES = Path(__file__).parents[1] / "native"
#: Its dot product instructions came with ARMv8.2: one processor has them, one lacks them.
WITH_DOT, WITHOUT = "max", "cortex-a72"


class Arm:
    """A compiler for ARM and an emulator, and what has been compiled with them."""

    def __init__(self, cxx: str, emulator: str, folder: Path) -> None:
        self._cxx, self._emulator, self._folder = cxx, emulator, folder
        self._objects = list(map(str, build.compile_all(cxx, folder, build.FLAGS, "aarch64")))

    def compiled(self, name: str) -> Path:
        program = self._folder / name
        source, options = str(SOURCES / f"{name}.cpp"), [*build.FLAGS, "-O1", "-static", f"-I{build.SOURCE}"]
        linked = [self._cxx, *options, source, *self._objects, "-o", str(program)]
        subprocess.run(linked, check=True, capture_output=True)
        return program

    def run(
        self, program: Path, model: Path, processor: str = WITH_DOT, given: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        command = [self._emulator, "-cpu", processor, str(program), str(model)]
        return subprocess.run(command, input=given, capture_output=True, check=False)


class Emulated:
    """What the self-check asks of an ``Engine``."""

    def __init__(self, arm: Arm) -> None:
        self._arm, self._program, self._model = arm, arm.compiled("encode"), artifact.read().model.path
        native = Engine(self._model, "reference")
        self.vocabulary, self.window, self.dim = native.vocabulary, native.window, native.dim
        self.scores = native.scores

    def encode(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        numbers = [len(texts), *map(len, texts), *chain.from_iterable(texts)]
        done = self._arm.run(self._program, self._model, given=np.array(numbers, np.int32).tobytes())
        assert (done.returncode, done.stderr) == (0, b"neon-dot")
        return np.frombuffer(done.stdout, np.float32).reshape(len(texts), self.dim)


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Arm:
    native_kit.needed()
    cxx = shutil.which(os.environ.get("CXX_AARCH64", "aarch64-linux-gnu-g++"))
    emulator = shutil.which(os.environ.get("QEMU_AARCH64", "qemu-aarch64"))
    if not cxx or not emulator:
        pytest.skip("there is no compiler or no emulator for ARM: install g++-aarch64-linux-gnu and qemu-user")
    return Arm(cxx, emulator, tmp_path_factory.mktemp("arm"))


def test_the_kernels_agree_with_the_plain_loops(arm: Arm, tmp_path: Path) -> None:
    model = random_model(tmp_path / "small.weights", Shape(1, 128, 4, 192, 90, 100, 0, 1e-12))
    driver = arm.compiled("driver")
    done = arm.run(driver, model)
    assert (done.returncode, done.stdout) == (0, b"1 sets of kernels agree\n"), done.stderr
    assert b"0 sets of kernels" in arm.run(driver, model, WITHOUT).stdout


def test_the_bundled_model_s_check_is_what_they_give(arm: Arm) -> None:
    assert selfcheck.digest(cast("Engine", Emulated(arm))) == artifact.read().check
