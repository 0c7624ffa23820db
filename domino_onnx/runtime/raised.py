"""What does ONNX Runtime raise, and what does it say?"""

from __future__ import annotations

import importlib

__all__ = ["error_types", "first_line"]


def error_types() -> tuple[type[Exception], ...]:
    """All that ONNX Runtime raises."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = (value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception))
    return (*own, RuntimeError, ValueError, TypeError, MemoryError)


def first_line(error: Exception) -> str:
    """What an error says, short enough for a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
