"""Does ONNX Runtime survive a model? Tried in a child process, because its native code crashes on some."""

from __future__ import annotations

import contextlib

import numpy as np

from domino_onnx.errors import CrashError, ModelError
from domino_onnx.runtime.child_session import ChildSession
from domino_onnx.runtime.providers import require_onnxruntime

__all__ = ["require_survivable"]

_SECONDS = 20.0
_MOST_ELEMENTS = 1e7
_TYPES = {"float": "float32", "double": "float64"}
"""NumPy's names of types where ONNX Runtime has others."""


def require_survivable(model: bytes) -> None:
    """Raise ModelError if ONNX Runtime refuses a model, or ends the process that loads it or runs it on ones.

    Parameters
    ----------
    model
        With all data inline.
    """
    try:
        _try(model, lean=False)
    except CrashError as crash:
        try:
            _try(model, lean=True)
        except ModelError:
            raise crash from None
        version = require_onnxruntime().__version__
        raise ModelError(f"{crash}; without the graph optimisations of ONNX Runtime {version} it runs") from None


def _try(model: bytes, *, lean: bool) -> None:
    """Load it, and run it once: made-up inputs needn't fit; a crash tells."""
    with ChildSession(model, threads=1, lean=lean) as session, contextlib.suppress(TypeError, ValueError):
        shapes = {
            name: [size if isinstance(size, int) else 1 for size in shape]
            for name, (_, shape) in session.inputs.items()
        }
        if any(np.prod(shape, dtype=float) > _MOST_ELEMENTS for shape in shapes.values()):
            return
        inputs = {name: np.ones(shape, _dtype(session.inputs[name][0])) for name, shape in shapes.items()}
        try:
            session.run(inputs, seconds=_SECONDS)
        except CrashError:
            raise
        except ModelError:
            return


def _dtype(kind: str) -> np.dtype[np.generic]:
    """Of ``"tensor(float)"``: float32."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    return np.dtype(_TYPES.get(name, name))
