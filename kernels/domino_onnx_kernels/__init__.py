"""Operators for ONNX Runtime that skip the zeros of pruned weights, as one shared library.

::

    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(domino_onnx_kernels.library_path())
"""

from pathlib import Path

__all__ = ["__version__", "library_path"]

__version__ = "0.1.0"


def library_path() -> str:
    """Where the shared library lies; FileNotFoundError if this package was never built."""
    folder = Path(__file__).parent
    for name in ("libdomino_onnx_kernels.so", "libdomino_onnx_kernels.dylib", "domino_onnx_kernels.dll"):
        if (folder / name).exists():
            return str(folder / name)
    raise FileNotFoundError(f"no library in {folder}: run `python kernels/build.py`")
