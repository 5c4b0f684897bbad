"""The wheel's build: compiles the CPU kernels into it where there is a C compiler, and does without them elsewhere."""

from __future__ import annotations

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("src", "folioscope", "native")


class KernelsHook(BuildHookInterface):
    """A wheel with kernels is this platform's, of any Python 3; without them, everybody's.

    An editable installation gets none: its source changes, and the cache that the kernels are then compiled into knows
    which source it belongs to.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        build = runpy.run_path(str(Path(self.root, NATIVE, "build.py")))
        if not build["compile_kernels"](build["BUILT"]):
            self.app.display_warning("no C compiler, or it failed: this wheel has no kernels and uses PyTorch alone")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"
        build_data["artifacts"].append(str(NATIVE / build["BUILT"].name))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        Path(self.root, NATIVE, "_kernels.so").unlink(missing_ok=True)
