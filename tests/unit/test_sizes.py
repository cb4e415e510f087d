"""The code stays small: functions, modules and stages have limits, and layers import in one direction only."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FUNCTION_LINES = 40
MODULE_LINES = 400
STAGE_LINES = 120


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and number of lines of every function and method, docstring included; decorators are declarations."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_modules_and_functions_are_small(path: Path) -> None:
    limit = STAGE_LINES if path.parent.name == "stages" else MODULE_LINES
    assert length(path) <= limit, f"{name_of(path)} has {length(path)} lines; the limit is {limit}: split it."
    too_long = {name: lines for name, lines in functions(path) if lines > FUNCTION_LINES}
    assert not too_long, f"functions with more than {FUNCTION_LINES} lines in {name_of(path)}: {too_long}"


def test_every_module_says_what_it_is() -> None:
    silent = [name_of(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not silent


def test_imports_point_one_way() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
