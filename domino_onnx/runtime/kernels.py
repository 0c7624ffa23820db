"""The operators of the package domino-onnx-kernels, which ONNX Runtime takes from a shared library."""

from __future__ import annotations

import importlib
from typing import Any

from domino_onnx.errors import DependencyError

__all__ = ["kernels_library", "register_kernels"]


def kernels_library() -> str:
    """Where the library lies; DependencyError if there is none."""
    try:
        path: str = importlib.import_module("domino_onnx_kernels").library_path()
    except (ImportError, FileNotFoundError) as error:
        raise DependencyError(
            f"the CPU kernels are missing ({error}): run `pip install ./kernels '.[cpu-kernels]'` in a checkout of "
            "domino-onnx"
        ) from None
    return path


def register_kernels(options: Any) -> None:
    """Give a session the operators, where they are installed: only deployed files ask for them."""
    try:
        options.register_custom_ops_library(kernels_library())
    except DependencyError:
        return
