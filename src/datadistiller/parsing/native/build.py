"""Compiles the loop over the words of PDF pages: ``python -m datadistiller.parsing.native.build``.

Needs a C compiler and nothing else, pdfium neither. Uses the standard library only, because it also runs while the
package is being installed (``hatch_build.py``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("source") / "words.c"
LIBRARY = Path(__file__).with_name("_words.so")
#: Without contraction sums and products are rounded as Python rounds them.
FLAGS = ("-std=c11", "-O2", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror=implicit-function-declaration")
_SECONDS = 120.0


class CannotBuild(Exception):
    """Why it is not compiled, in a sentence."""


def compiler() -> str:
    """The C compiler to use: ``CC``, else the system's. Raises ``CannotBuild`` where there is none."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    raise CannotBuild("There is no C compiler.")


def build(target: Path = LIBRARY, more: Sequence[str] = ()) -> Path:
    """Compiles the library into ``target``, which is replaced in one step. Raises ``CannotBuild``.

    ``more``: other flags, for the tests.
    """
    if sys.platform != "linux":
        raise CannotBuild(f"It was never tried on {sys.platform}.")
    cc = compiler()
    with tempfile.TemporaryDirectory(prefix=".engine-", dir=target.parent) as folder:
        made = Path(folder) / target.name
        command = [cc, *FLAGS, *more, "-shared", str(SOURCE), "-o", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotBuild(str(error)) from error
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
            raise CannotBuild(f"It could not be compiled: {(said or [f'exit code {done.returncode}'])[0]}")
        made.replace(target)
    return target


def main() -> int:
    """Compiles where the package lies; says in one line what came of it."""
    try:
        sys.stdout.write(f"Words of PDF pages are found by {build()}\n")
    except (CannotBuild, OSError) as error:
        sys.stdout.write(f"Words of PDF pages are found by Python alone, which takes longer. {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
