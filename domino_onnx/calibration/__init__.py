"""Data for a model, and ONNX Runtime to run it whole or piece by piece and to gather statistics."""

from domino_onnx.calibration.data import Dataset, load_data
from domino_onnx.calibration.inputs import InputSpec, input_specs
from domino_onnx.calibration.memory import affordable
from domino_onnx.calibration.moments import Moments
from domino_onnx.calibration.runtime import Device, Session, require_cuda, require_onnxruntime
from domino_onnx.calibration.samples import Samples
from domino_onnx.calibration.shapes import observe_shapes
from domino_onnx.calibration.unfold import LinearView
from domino_onnx.calibration.walk import Live, Values, Walk

__all__ = [
    "Dataset",
    "Device",
    "InputSpec",
    "LinearView",
    "Live",
    "Moments",
    "Samples",
    "Session",
    "Values",
    "Walk",
    "affordable",
    "input_specs",
    "load_data",
    "observe_shapes",
    "require_cuda",
    "require_onnxruntime",
]
