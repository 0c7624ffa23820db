"""Data for a model, and ONNX Runtime to run it."""

from domino_onnx.calibration.data import Dataset, InputSpec, input_specs, load_data
from domino_onnx.calibration.runtime import Device, Session, require_cuda, require_onnxruntime
from domino_onnx.calibration.shapes import observe_shapes

__all__ = [
    "Dataset",
    "Device",
    "InputSpec",
    "Session",
    "input_specs",
    "load_data",
    "observe_shapes",
    "require_cuda",
    "require_onnxruntime",
]
