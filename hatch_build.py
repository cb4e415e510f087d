"""Compiles the native embedding engine while the package is being built or installed, where a C++ compiler is.

A wheel with the engine carries it prebuilt, for one platform and any Python; one without is pure Python, and works
with ONNX Runtime.
"""

from __future__ import annotations

import importlib.util
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = "src/datadistiller/embedding/native"


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by hatchling for wheels, installations and installations in place."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles the engine: beside its sources for an installation in place, else into a wheel for this platform."""
        if self.target_name != "wheel":
            return
        native = _module(Path(self.root) / NATIVE / "build.py")
        self._folder = tempfile.TemporaryDirectory()
        library = native.LIBRARY if version == "editable" else Path(self._folder.name) / native.LIBRARY.name
        try:
            native.build(library)
        except (native.CannotBuild, OSError) as error:
            # One that lies beside the sources stays there: it is used only if it still computes what it should.
            self.app.display_warning(f"No native embedding engine; ONNX Runtime takes its place. {error}")
            return
        if version == "editable":
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["force_include"][str(library)] = f"{NATIVE.removeprefix('src/')}/{library.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel has its copy."""
        if self.target_name == "wheel":
            self._folder.cleanup()


def _module(path: Path) -> ModuleType:
    """A module of the package that is not installed yet."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
