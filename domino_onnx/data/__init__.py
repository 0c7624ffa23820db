"""The user's data: files and images as samples for a model, checked before any work."""

from domino_onnx.data.dataset import Dataset, load_data
from domino_onnx.data.inputs import InputSpec, input_specs
from domino_onnx.data.samples import Samples
from domino_onnx.data.split import Split

__all__ = ["Dataset", "InputSpec", "Samples", "Split", "input_specs", "load_data"]
