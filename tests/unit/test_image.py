"""What of the image can be checked without building it: its sources, its rules, and the wheel that it installs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import datadistiller
from tests.contracts import native_kit

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
#: The instructions, each on one line.
TEXT = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
INSTRUCTIONS = [(word[1], word[2].strip()) for word in re.finditer(r"^([A-Z]+) +(.*)$", TEXT, re.MULTILINE)]
COPIED = [
    source for name, words in INSTRUCTIONS if name == "COPY" and "--from" not in words for source in words.split()[:-1]
]


def given(name: str) -> list[str]:
    """What an instruction is given, each time it comes."""
    return [words for instruction, words in INSTRUCTIONS if instruction == name]


def test_what_it_copies_exists_and_reaches_the_builder() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(COPIED) == let_through
    assert not [source for source in COPIED if not (ROOT / source).exists()]


def test_dependencies_are_the_locked_ones() -> None:
    installs = [words for words in given("RUN") if "pip install" in words]
    assert len(installs) == 2
    assert "--require-hashes --no-deps -r requirements.lock" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]


def test_it_runs_as_an_ordinary_user_from_a_slim_image_without_a_registry_s_address() -> None:
    assert given("USER") == ["10001:10001"]
    assert [image.split()[0] for image in given("FROM")] == ["python:${PYTHON}-slim-bookworm"] * 2
    assert given("ENTRYPOINT") == ['["datadistiller"]']
    assert given("VOLUME") == ["/data"]
    assert "healthcheck.py" in given("HEALTHCHECK")[0]
    assert not re.search(r"\b(curl|wget|latest)\b", TEXT)


def test_its_version_is_the_package_s() -> None:
    assert f"VERSION={datadistiller.__version__}" in given("ARG")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image's builder gets."""
    folder = tmp_path_factory.mktemp("context")
    for source in COPIED:
        path = ROOT / source
        if path.is_dir():
            shutil.copytree(path, folder / source, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            (folder / source).parent.mkdir(exist_ok=True)
            shutil.copy(path, folder / source)
    return folder


def make_wheel(context: Path, out: Path, **environment: str) -> Path:
    code = f"from hatchling.build import build_wheel; build_wheel({str(out)!r})"
    run = [sys.executable, "-c", code]
    subprocess.run(run, cwd=context, env=os.environ | environment, check=True, capture_output=True)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def wheel(context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, with the native engine where there is a compiler."""
    return make_wheel(context, tmp_path_factory.mktemp("wheel"))


def test_a_wheel_with_the_native_engine_is_for_one_platform_and_any_python(wheel: Path) -> None:
    native_kit.needed()
    assert re.search(r"-py3-none-linux_\w+\.whl$", wheel.name)


def test_without_a_compiler_the_wheel_is_pure_python(context: Path, tmp_path: Path) -> None:
    made = make_wheel(context, tmp_path, PATH=str(tmp_path), CXX="", CC="")
    assert made.name.endswith("-py3-none-any.whl")
    assert not [name for name in zipfile.ZipFile(made).namelist() if name.endswith(".so")]


def test_the_wheel_holds_everything(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = ROOT / "src" / "datadistiller"
    files = {f"datadistiller/{path.relative_to(package)}" for path in package.rglob("*") if path.is_file()}
    expected = {name for name in files if "__pycache__" not in name}
    expected |= {f"datadistiller/samples/{path.name}" for path in (ROOT / "samples").iterdir()}
    assert inside == expected
    kinds = (".weights", "/sql/messages.sql", "/migrations/0001_initial.sql", ".pdf")
    assert not [kind for kind in kinds if not any(name.endswith(kind) for name in inside)]


def test_the_installed_wheel_starts(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}  # before the checkout, which is installed as well

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert run(str(tmp_path / "bin" / "datadistiller"), "version") == datadistiller.__version__
    code = (
        "from datadistiller.cli import firstrun; from datadistiller.store.statements import Statements; "
        "Statements('messages'); print(firstrun.samples_folder())"
    )
    assert run(sys.executable, "-c", code) == str(tmp_path / "datadistiller" / "samples")


class Answering(BaseHTTPRequestHandler):
    """A process that is alive, but not ready."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def port() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


def test_the_health_check_asks_the_api_s_port_and_the_health_port(port: str) -> None:
    def ends_with(path: str, **ports: str) -> int:
        environment = {**os.environ, **{f"DATADISTILLER_{name}": value for name, value in ports.items()}}
        argv = [sys.executable, str(ROOT / "deploy" / "healthcheck.py"), *([path] if path else [])]
        return subprocess.run(argv, env=environment, check=False).returncode

    assert ends_with("", PORT=port) == 0
    assert ends_with("/livez", PORT="9", HEALTH_PORT=port) == 0
    assert ends_with("/readyz", PORT=port, HEALTH_PORT=port) == 1
    assert ends_with("", PORT="9") == 1
