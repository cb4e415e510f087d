"""The native engine under the sanitizers: every kernel against the plain loops, then many threads on one model."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.models import random_model
from datadistiller.embedding.native import build
from datadistiller.embedding.weights import Shape
from tests.contracts import native_kit

DRIVER = Path(__file__).parents[1] / "native" / "driver.cpp"
#: What is wrong ends the program; what was never written has a value that shows.
OPTIONS = {"ASAN_OPTIONS": "malloc_fill_byte=255:max_malloc_fill_size=1000000", "TSAN_OPTIONS": ""}


def tried_with_avx512(cxx: str, folder: Path, flags: list[str]) -> list[str]:
    """Where no processor has AVX-VNNI but AVX-512 is: compiles its kernels with the other encoding of their one
    instruction. What the driver must know of that."""
    if native_kit.runs("avx-vnni") or not native_kit.runs("avx512-vnni"):
        return []
    other = ['-DDOT="vpdpbusd %2, %1, %0"']
    name = "kernels_avx_vnni"
    options = [*build.KERNELS["x86_64"][name][1], "-mavx512vl", "-mavx512vnni"]
    compiled = [cxx, *flags, *options, *other, "-c", str(build.SOURCE / f"{name}.cpp"), "-o", str(folder / f"{name}.o")]
    subprocess.run(compiled, check=True, capture_output=True)
    return other


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_nothing_is_found(sanitizers: str, tmp_path: Path) -> None:
    native_kit.needed()
    try:
        cxx = build.compiler()
    except build.CannotBuild as reason:
        pytest.skip(str(reason))
    sanitizing = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    flags = [flag for flag in build.FLAGS if flag != "-O3"] + ["-O1", "-g1", *sanitizing]
    objects = build.compile_all(cxx, tmp_path, flags)
    program = tmp_path / "driver"
    flags += tried_with_avx512(cxx, tmp_path, flags)
    link = [cxx, *flags, f"-I{build.SOURCE}", str(DRIVER), *map(str, objects), "-o", str(program)]
    linked = subprocess.run(link, capture_output=True, text=True, check=False)
    if linked.returncode and "cannot find" in linked.stderr:
        pytest.skip(f"this compiler comes without the sanitizers {sanitizers}")
    assert linked.returncode == 0, linked.stderr
    shapes = {"vectors": Shape(1, 128, 4, 192, 90, 100, 0, 1e-12), "scores": Shape(1, 128, 2, 64, 90, 70, 2, 1e-12)}
    models = [random_model(tmp_path / name, shape) for name, shape in shapes.items()]
    done = subprocess.run([program, *models], env=os.environ | OPTIONS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(native_kit.fast_kernels())} sets of kernels agree" in done.stdout
