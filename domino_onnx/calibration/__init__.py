"""Data for a model, and ONNX Runtime to run it."""

from domino_onnx.calibration.data import Dataset, InputSpec, input_specs, load_data
from domino_onnx.calibration.runtime import Device, Session, require_onnxruntime

__all__ = ["Dataset", "Device", "InputSpec", "Session", "input_specs", "load_data", "require_onnxruntime"]
