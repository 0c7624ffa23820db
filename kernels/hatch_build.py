"""Compiles the library into the wheel, which fits every Python 3 on this platform."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))
import build


class Kernels(BuildHookInterface):
    """Compiles when a wheel is built."""

    def dependencies(self) -> list[str]:
        """A compiler from the package index, where the system has none."""
        return [] if build.compiler() else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Compile, and name the platform."""
        build.build()
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False
