"""ONNX Runtime: sessions, and a model run piece by piece."""

from domino_onnx.runtime.memory import affordable, available_memory, memory_budget
from domino_onnx.runtime.segment_runner import Activations, SegmentRunner
from domino_onnx.runtime.session import Session, require_cuda, require_onnxruntime
from domino_onnx.runtime.shapes import observe_shapes

__all__ = [
    "Activations",
    "SegmentRunner",
    "Session",
    "affordable",
    "available_memory",
    "memory_budget",
    "observe_shapes",
    "require_cuda",
    "require_onnxruntime",
]
