"""ONNX Runtime: sessions, and a model run piece by piece."""

from domino_onnx.runtime.memory import affordable
from domino_onnx.runtime.session import Session, require_cuda, require_onnxruntime
from domino_onnx.runtime.shapes import observe_shapes
from domino_onnx.runtime.walk import Live, Values, Walk

__all__ = [
    "Live",
    "Session",
    "Values",
    "Walk",
    "affordable",
    "observe_shapes",
    "require_cuda",
    "require_onnxruntime",
]
