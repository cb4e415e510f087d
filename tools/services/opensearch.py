"""OpenSearch 2 with k-NN, from Maven's artifacts: the libraries, the modules that indexing needs, the plugin."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import httpx

from tools.services import install, java, ports
from tools.services.server import Server

VERSION = "2.19.1"
HEAP = "512m"


@dataclass(frozen=True, slots=True)
class Module:
    """A module of OpenSearch's distribution, and what its descriptor and its security policy say."""

    name: str
    artifact: str
    classname: str
    extends: str = ""
    policy: str = ""


_MODULES = (
    Module(
        "transport-netty4", "transport-netty4-client", "org.opensearch.transport.Netty4Plugin",
        policy="""
  permission java.lang.RuntimePermission "getClassLoader";
  permission java.lang.RuntimePermission "setContextClassLoader";
  permission java.lang.RuntimePermission "accessDeclaredMembers";
  permission java.lang.reflect.ReflectPermission "suppressAccessChecks";
  permission java.net.SocketPermission "*", "accept,connect";""",
    ),
    Module(
        "lang-painless", "lang-painless", "org.opensearch.painless.PainlessPlugin",
        policy="""
  permission java.lang.RuntimePermission "createClassLoader";
  permission java.lang.RuntimePermission "getClassLoader";
  permission org.opensearch.script.ClassPermission "<<STANDARD>>";""",
    ),
    Module(
        "analysis-common", "analysis-common", "org.opensearch.analysis.common.CommonAnalysisPlugin",
        extends="lang-painless",
    ),
    Module(
        "reindex", "reindex-client", "org.opensearch.index.reindex.ReindexPlugin",
        policy="""
  permission java.net.SocketPermission "*", "connect";
  permission java.lang.RuntimePermission "getClassLoader";""",
    ),
)  # fmt: skip
_LIBRARIES = (
    install.artifact(f"org.opensearch:opensearch:{VERSION}"),
    install.artifact(f"org.opensearch:opensearch-plugin-classloader:{VERSION}"),
    install.artifact("org.apache.logging.log4j:log4j-core:2.21.0"),
)
_KNN = install.artifact(f"org.opensearch.plugin:opensearch-knn:{VERSION}.0:zip", alone=True)
_DESCRIPTOR = """\
description={name}
name={name}
version={version}
opensearch.version={version}
java.version=11
classname={classname}
extended.plugins={extends}
"""


class OpenSearchServer(Server):
    """One node. ``settings`` add to opensearch.yml and win."""

    name = "opensearch"
    title = "OpenSearch"
    port_names: ClassVar[tuple[str, ...]] = ("client", "transport")

    def __init__(
        self,
        folder: Path,
        given: Mapping[str, int] | None = None,
        settings: Mapping[str, str] | None = None,
        heap: str = HEAP,
    ) -> None:
        super().__init__(folder, given)
        self._settings = dict(settings or {})
        self._heap = heap
        self._home = Path()

    @property
    def url(self) -> str:
        """The HTTP endpoint."""
        return f"http://{ports.LOOPBACK}:{self.ports['client']}"

    def environment(self) -> dict[str, str]:
        """The index's URL."""
        return {"DATADISTILLER_INDEX_URL": f"opensearch://{ports.LOOPBACK}:{self.ports['client']}"}

    def install(self) -> None:
        """Fetches libraries, modules and plugin."""
        poms = _poms()
        recipe = f"{poms}{_MODULES}{_DESCRIPTOR}"
        self._home = install.installed(f"opensearch-{VERSION}", recipe, lambda part: _build(part, poms))

    def prepare(self) -> None:
        """Writes its configuration. It makes the data itself."""
        for folder in ("config", "tmp"):
            (self.folder / folder).mkdir(exist_ok=True)
        config = self.folder / "config"
        (config / "opensearch.yml").write_text("".join(f"{n}: {v}\n" for n, v in self._configuration().items()))
        (config / "log4j2.properties").write_text(java.LOGGING)
        self.be_ordinary(self._java())

    def command(self) -> list[str]:
        """One JVM."""
        return [
            str(self._java()), f"-Xms{self._heap}", f"-Xmx{self._heap}", "-Djava.security.manager=allow",
            f"-Dopensearch.path.home={self._home}", f"-Dopensearch.path.conf={self.folder / 'config'}",
            "-Dopensearch.distribution.type=tar", "-Djava.locale.providers=SPI,COMPAT", "-Dlog4j2.disable.jmx=true",
            "-Dlog4j.shutdownHookEnabled=false", "-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true",
            "-Dio.netty.allocator.numDirectArenas=0", "-Djna.nosys=true",
            f"-Djava.io.tmpdir={self.folder / 'tmp'}", "-cp", f"{self._home / 'lib'}/*",
            "org.opensearch.bootstrap.OpenSearch",
        ]  # fmt: skip

    async def ready(self) -> bool:
        """True if the node has a master and its indexes are open."""
        try:
            async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
                health = await client.get(f"{self.url}/_cluster/health", params={"local": "true"})
                return health.is_success and health.json()["status"] in ("green", "yellow")
        except (httpx.HTTPError, ValueError, KeyError):
            return False

    def _java(self) -> Path:
        return java.program(self.title, 17, 23)  # later ones have no security manager

    def _configuration(self) -> dict[str, str]:
        return {
            "cluster.name": "datadistiller-services",
            "node.name": "node",
            "discovery.type": "single-node",
            "network.host": ports.LOOPBACK,
            "http.port": str(self.ports["client"]),
            "transport.port": str(self.ports["transport"]),
            "path.data": str(self.data),
            "path.logs": str(self.folder / "tmp"),
            # A full disk of the machine must not make the indexes read-only.
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            **self._settings,
        }


def _poms() -> dict[str, str]:
    modules = {each.name: [install.artifact(f"org.opensearch.plugin:{each.artifact}:{VERSION}")] for each in _MODULES}
    wanted = {"lib": _LIBRARIES, "knn": [_KNN], **modules}
    return {name: install.pom(name, artifacts) for name, artifacts in wanted.items()}


def _build(part: Path, poms: Mapping[str, str]) -> None:
    fetched = install.fetch(part / "work", poms, f"OpenSearch {VERSION}")
    libraries = _move(fetched["lib"], part / "lib", set())
    for module in _MODULES:
        folder = part / "modules" / module.name
        _move(fetched[module.name], folder, libraries)
        (folder / "plugin-descriptor.properties").write_text(
            _DESCRIPTOR.format(name=module.name, version=VERSION, classname=module.classname, extends=module.extends)
        )
        (folder / "plugin-security.policy").write_text(f"grant {{{module.policy}\n}};\n")
    with zipfile.ZipFile(fetched["knn"][0]) as archive:
        archive.extractall(part / "plugins" / "opensearch-knn")
    shutil.rmtree(part / "work")


def _move(jars: list[Path], folder: Path, there: set[str]) -> set[str]:
    """Moves the jars that are not ``there`` yet and returns their names; a jar may be loaded once only."""
    folder.mkdir(parents=True)
    wanted = [jar for jar in jars if jar.name not in there]
    for jar in wanted:
        jar.rename(folder / jar.name)
    return {jar.name for jar in wanted}
