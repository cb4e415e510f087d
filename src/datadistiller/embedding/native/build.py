"""Compiles the native engine, in seconds: ``python -m datadistiller.embedding.native.build``.

Needs a C++17 compiler and nothing else. Uses the standard library only, because it also runs while the package is being
installed (``hatch_build.py``). The library runs on any x86-64 or any 64-bit ARM: each file of kernels is compiled for
one instruction set, and which one is used is decided where it runs.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCE = Path(__file__).with_name("source")
LIBRARY = Path(__file__).with_name("_engine.so")
#: Without contraction a multiplication and an addition stay two roundings unless the source fuses them, so that all
#: compilers and instruction sets give the same bits.
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-pthread")
#: By machine, files that are compiled for an instruction set: what leaves them out, and what lets the compiler use it.
KERNELS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "x86_64": {
        "kernels_avx512_vnni": (
            "DD_WITHOUT_AVX512_VNNI",
            ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mavx2", "-mfma"),
        ),
        "kernels_avx_vnni": ("DD_WITHOUT_AVX_VNNI", ("-mavx2", "-mfma", "-mavxvnni")),
        "kernels_avx2": ("DD_WITHOUT_AVX2", ("-mavx2", "-mfma")),
    },
    "aarch64": {"kernels_neon_dot": ("DD_WITHOUT_NEON_DOT", ("-march=armv8.2-a+dotprod",))},
}
_LINKING = ("-shared", "-pthread", "-Wl,--exclude-libs,ALL")
#: Its own copy of the C++ library, so that it needs nothing but the C library where it runs.
_STATIC = ("-static-libstdc++", "-static-libgcc")
_SECONDS = 300.0


class CannotBuild(Exception):
    """Why there will be no native engine, in a sentence."""


def compiler() -> str:
    """The C++ compiler to use: ``CXX``, else the system's. Raises ``CannotBuild`` where there is none."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise CannotBuild("There is no C++ compiler.")


def build(target: Path = LIBRARY) -> Path:
    """Compiles the library into ``target``, which is replaced in one step. Raises ``CannotBuild``."""
    if sys.platform != "linux" or platform.machine() not in KERNELS:
        raise CannotBuild(f"There are no kernels for {sys.platform} on {platform.machine()}.")
    cxx = compiler()
    with tempfile.TemporaryDirectory() as folder:
        objects = compile_all(cxx, Path(folder), FLAGS)
        made = Path(folder) / "library.so"
        linked = [cxx, *_LINKING, *map(str, objects), "-o", str(made)]
        if _run([*linked, *_STATIC]) and (complaint := _run(linked)):
            raise CannotBuild(f"The native engine could not be linked: {complaint}")
        _replace(target, made)
    return target


def _replace(target: Path, made: Path) -> None:
    """In one step, for those that load it at this moment; others may be doing the same."""
    with tempfile.TemporaryDirectory(prefix=".engine-", dir=target.parent) as beside:
        shutil.copyfile(made, Path(beside) / target.name)
        (Path(beside) / target.name).replace(target)


def compile_all(cxx: str, folder: Path, flags: Sequence[str], machine: str = "") -> list[Path]:
    """Compiles every file for ``machine``, a key of ``KERNELS`` (this one); kernels that this compiler does not know
    are left out. Raises ``CannotBuild``."""
    wanted = KERNELS[machine or platform.machine()]

    def compiled(path: Path, *more: str) -> tuple[Path, str]:
        target = folder / f"{path.stem}.o"
        return target, _run([cxx, *flags, *more, "-c", str(path), "-o", str(target)])

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        alike = [path for path in sorted(SOURCE.glob("*.cpp")) if not path.stem.startswith(("kernels_", "dispatch"))]
        running = [pool.submit(compiled, path) for path in alike]
        kernels = {
            name: pool.submit(compiled, SOURCE / f"{name}.cpp", *options) for name, (_, options) in wanted.items()
        }
        missing = {name for name, run in kernels.items() if _unknown(run.result()[1])}
        if len(missing) == len(wanted):
            raise CannotBuild(f"The kernels could not be compiled: {[*kernels.values()][-1].result()[1]}")
        running.append(pool.submit(compiled, SOURCE / "dispatch.cpp", *(f"-D{wanted[name][0]}" for name in missing)))
        running += [run for name, run in kernels.items() if name not in missing]
        if complaints := [complaint for run in running if (complaint := run.result()[1])]:
            raise CannotBuild(f"The native engine could not be compiled: {complaints[0]}")
        return [run.result()[0] for run in running]


def _unknown(complaint: str) -> bool:
    """Whether a compiler or assembler says that it does not know an instruction set; not that it was killed."""
    return any(word in complaint.lower() for word in ("unrecognized", "unrecognised", "unknown", "no such instruction"))


def _run(command: Sequence[str]) -> str:
    """Nothing if the command succeeded, else what it complained of first."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    return (lines or done.stderr.splitlines() or [f"exit code {done.returncode}"])[0]


def main() -> int:
    """Compiles where the package lies; says in one line what came of it."""
    try:
        sys.stdout.write(f"The native embedding engine is {build()}\n")
    except (CannotBuild, OSError) as error:
        sys.stdout.write(f"No native embedding engine; ONNX Runtime takes its place. {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
