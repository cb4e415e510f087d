"""For ``benchmarks.engine``: ONNX Runtime with AVX-512 masked, beside the native engine's kernels for such processors.

ONNX Runtime asks the processor itself what it can (``cpuid``), and no setting keeps it from AVX-512. Linux can refuse
that instruction to a process, but only on processors with a fault for it. So each ``cpuid`` in a copy of its library
becomes an instruction that does not exist, and a signal's handler answers without AVX-512 (``masked_cpuid.c``). Needs
an x86-64 with ``objdump`` and a C compiler; the installed library stays as it is.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.rows import Row

CPUID, UD2 = b"\x0f\xa2", b"\x0f\x0b"
SOURCE = Path(__file__).with_name("masked_cpuid.c")
#: The kernels that are measured, and what of the environment says what the processor still has.
LEVELS: dict[str, dict[str, str]] = {"avx2": {}, "avx-vnni": {"DD_KEEP_AVX_VNNI": "1"}}


def rows(seconds: float, folder: Path) -> list[Row]:
    """Both engines in turns, in a process of its own for each level; one row that says why if it cannot be done."""
    try:
        library = prepare(folder)
    except (OSError, subprocess.CalledProcessError, LookupError) as error:
        return [Row("AVX-512 masked for both", "", f"not measured: {error}")]
    found = []
    for kernels, environment in LEVELS.items():
        command = [sys.executable, "-m", "benchmarks.engine_masked", str(folder), str(library), kernels, str(seconds)]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
        what = f"AVX-512 masked for both, {kernels} left"
        if done.returncode:
            found.append(Row(what, "", f"not measured: {(done.stderr.splitlines() or ['no reason given'])[-1]}"))
        else:
            found += [Row(f"{what}: {name}", "", figure) for name, figure in json.loads(done.stdout).items()]
    return found


def prepare(folder: Path) -> Path:
    """A copy of ONNX Runtime in ``folder`` that asks us, and the library that answers it."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise LookupError("ONNX Runtime is not installed")
    shutil.copytree(Path(spec.origin).parent, folder / "onnxruntime")
    changed = sum(rewritten(path) for path in (folder / "onnxruntime/capi").glob("*.so"))
    if not changed:
        raise LookupError("ONNX Runtime asks the processor in another way")
    library = folder / "masked.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", str(SOURCE), "-o", str(library)], check=True)
    return library


def rewritten(path: Path) -> int:
    """Makes every ``cpuid`` of a library an instruction that does not exist; how many there were."""
    heads = subprocess.run(["objdump", "-h", "-j", ".text", str(path)], capture_output=True, text=True, check=True)
    section = re.search(r"\.text\s+\w+\s+(\w+)\s+\w+\s+(\w+)", heads.stdout)
    if section is None:
        return 0
    shift = int(section[2], 16) - int(section[1], 16)  # from addresses to places in the file
    listing = ["objdump", "-d", "--no-show-raw-insn", "-j", ".text", str(path)]
    content, changed = bytearray(path.read_bytes()), 0
    with subprocess.Popen(listing, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout or ():
            address, _, instruction = line.partition(":\t")
            if instruction.strip() == "cpuid":
                place = int(address, 16) + shift
                if content[place : place + 2] != CPUID:
                    raise LookupError(f"{path.name} is not laid out as objdump says")
                content[place : place + 2] = UD2
                changed += 1
    path.write_bytes(content)
    return changed


def measure(folder: Path, library: Path, kernels: str, seconds: float) -> dict[str, str]:
    """Figures by engine and threads, of this process, in which nothing has loaded ONNX Runtime yet."""
    answers = ctypes.CDLL(str(library)).masked_answers
    sys.path.insert(0, str(folder))
    from benchmarks import engine

    found = engine.engines(kernels)
    if not answers():
        raise SystemExit("ONNX Runtime did not ask what the processor can")
    measured = engine.figures(found, engine.chunk_ids(), seconds)
    return {f"{name} thread(s)": figure for name, figure in measured.items()}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]))))
