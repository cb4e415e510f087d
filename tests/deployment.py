"""For tests of what deploys the system: checking programs, skipped with a reason where there are none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.services.programs import ServiceError

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def program(find: Callable[[], Path]) -> Path:
    """The program. Without it the test is skipped; with ``CI`` set it fails."""
    try:
        return find()
    except ServiceError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def output(*argv: str | Path, **more: str) -> str:
    """What a program prints; the test fails with all it said if it ends otherwise than with 0."""
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ, **more}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
