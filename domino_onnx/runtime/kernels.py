"""The operators of the package domino-onnx-kernels, which ONNX Runtime takes from a shared library."""

from __future__ import annotations

import importlib
from typing import Any

from domino_onnx.errors import DependencyError
from domino_onnx.runtime.providers import require_onnxruntime
from domino_onnx.runtime.raised import error_types, first_line

__all__ = ["kernels_library", "lacks_kernels", "register_kernels", "require_kernels"]


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


def require_kernels() -> None:
    """Raise DependencyError if the library is missing, or ONNX Runtime can't load it."""
    objection = register_kernels(require_onnxruntime().SessionOptions())
    if objection is not None:
        raise objection


def register_kernels(options: Any) -> DependencyError | None:
    """Give a session the operators; why it has none, where it hasn't. Only deployed files ask for them."""
    try:
        path = kernels_library()
        options.register_custom_ops_library(path)
    except DependencyError as error:
        return error
    except error_types() as error:
        return DependencyError(f"ONNX Runtime can't load the CPU kernels of {path}: {first_line(error)}")
    return None


def lacks_kernels(error: Exception) -> bool:
    """Whether ONNX Runtime refuses a model because it doesn't know an operator of the domain."""
    return "domino_onnx:" in str(error)
