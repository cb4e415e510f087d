"""Compiles the native embedding engine, and the loop over words of PDF pages, while the package is being built or
installed, where a compiler is.

A wheel with them carries them prebuilt, for one platform and any Python; one without is pure Python, and works with
ONNX Runtime, and reads PDF files more slowly.
"""

from __future__ import annotations

import importlib.util
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: Folders with a ``build.py``, and what is said where it cannot build.
NATIVE = {
    "src/datadistiller/embedding/native": "No native embedding engine; ONNX Runtime takes its place.",
    "src/datadistiller/parsing/native": "Words of PDF pages are found by Python alone, which takes longer.",
}


class CustomBuildHook(BuildHookInterface[Any]):
    """Called by hatchling for wheels, installations and installations in place."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles both: beside their sources for an installation in place, else into a wheel for this platform."""
        if self.target_name != "wheel":
            return
        self._folder = tempfile.TemporaryDirectory()
        for folder, otherwise in NATIVE.items():
            native = _module(Path(self.root) / folder / "build.py")
            library = native.LIBRARY if version == "editable" else Path(self._folder.name) / native.LIBRARY.name
            try:
                native.build(library)
            except (native.CannotBuild, OSError) as error:
                # One that lies beside the sources stays there: it is used only if it is of these sources.
                self.app.display_warning(f"{otherwise} {error}")
                continue
            if version != "editable":
                build_data["force_include"][str(library)] = f"{folder.removeprefix('src/')}/{library.name}"
                build_data["pure_python"] = False
                build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

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
