"""For tests of what deploys the system: where it is, and the programs that check it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests import services

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def program(find: Callable[[], Path]) -> Path:
    """The program, or whatever was fetched once. Without it the test is skipped; with ``CI`` set it fails."""
    with services.or_skip():
        return find()


def output(*argv: str | Path, **more: str) -> str:
    """What a program prints; the test fails with all it said if it ends otherwise than with 0."""
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ, **more}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
