"""What was fetched once, in ``.services/install``: one folder per server and recipe, complete or not there.

Everything comes through the package managers as they are configured on this machine. One installer works at a time;
another one waits and finds the work done.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.services import programs

#: Where everything is; several checkouts may share one.
FOLDER_VARIABLE = "DATADISTILLER_SERVICES"
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_POM = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>datadistiller.services</groupId><artifactId>{name}</artifactId><version>1</version>
  <packaging>pom</packaging>
  {content}
</project>
"""


def folder() -> Path:
    """The folder of all that belongs to services."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path(__file__).parents[2] / ".services").absolute()


def installed(name: str, recipe: str, build: Callable[[Path], None], root: Path | None = None) -> Path:
    """The folder that ``build`` fills, once: it is given a temporary one, which gets its name when it is complete.

    ``recipe`` is all that ``build`` depends on: another one is another folder.
    """
    home = (root or folder()) / "install"
    final = home / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"
    if final.exists():
        return final
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / ".lock", f"another installation in {home}"):
        if final.exists():
            return final
        print(f"Installing {name} into {home} (once)", file=sys.stderr, flush=True)
        part = home / f".part-{name}"
        shutil.rmtree(part, ignore_errors=True)  # of an installer that was killed
        part.mkdir()
        try:
            build(part)
            _open_for_reading(part)
            part.rename(final)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return final


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds the lock; says so if it has to wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"Waiting for {what}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def artifact(coordinates: str, *, alone: bool = False) -> str:
    """The pom's element for ``group:name:version[:type]``; ``alone`` leaves out what that one depends on."""
    group, name, version, kind = [*coordinates.split(":"), "jar"][:4]
    without = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>"
        f"<type>{kind}</type>{without if alone else ''}</dependency>"
    )


def pom(name: str, artifacts: Sequence[str]) -> str:
    """A pom that only depends."""
    return _POM.format(name=name, content=f"<dependencies>{''.join(artifacts)}</dependencies>")


def fetch(work: Path, poms: Mapping[str, str], wanted_by: str) -> dict[str, list[Path]]:
    """What each pom's artifacts are, with all they depend on, fetched by one run of Maven in ``work``."""
    maven = programs.find("mvn", wanted_by)
    for name, text in poms.items():
        (work / name).mkdir(parents=True)
        (work / name / "pom.xml").write_text(text)
    modules = "".join(f"<module>{name}</module>" for name in poms)
    (work / "pom.xml").write_text(_POM.format(name="all", content=f"<modules>{modules}</modules>"))
    programs.run([maven, "-q", "-B", f"{_PLUGIN}:copy-dependencies"], work, f"Fetching {wanted_by}")
    return {name: sorted((work / name / "target" / "dependency").iterdir()) for name in poms}


def _open_for_reading(path: Path) -> None:
    """The server may run as an account of its own."""
    for inside in (path, *path.rglob("*")):
        if not inside.is_symlink():
            inside.chmod(inside.stat().st_mode | (0o555 if inside.is_dir() else 0o444))
