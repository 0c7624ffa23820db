"""A session for a file that `deploy` wrote, as ONNX Runtime itself gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domino_onnx.errors import ModelError
from domino_onnx.runtime.kernels import lacks_kernels, register_kernels
from domino_onnx.runtime.providers import require_onnxruntime
from domino_onnx.runtime.raised import error_types, first_line

__all__ = ["open_session"]


def open_session(path: Path | str | bytes, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU with the operators of deployed files registered.

    Parameters
    ----------
    path
        Of a model, or the model itself, serialised.
    threads
        Within an operator; 0 takes all cores.

    Returns
    -------
    An ``onnxruntime.InferenceSession``.

    Raises
    ------
    DependencyError
        If ONNX Runtime is missing, or kernels for a deployed file are missing or can't be loaded.
    ModelError
        If ONNX Runtime refuses the model.
    """
    ort = require_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    objection = register_kernels(options)
    name = "the model" if isinstance(path, bytes) else str(path)
    if not isinstance(path, bytes) and not Path(path).exists():
        raise ModelError(f"there is no file {name}")
    try:
        source = path if isinstance(path, bytes) else str(path)
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except error_types() as error:
        if objection is not None and lacks_kernels(error):
            raise objection from None
        raise ModelError(f"ONNX Runtime {ort.__version__} can't load {name}: {first_line(error)}") from None
