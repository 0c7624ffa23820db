"""The user's data: files and images as samples for a model, checked before any work."""

from domino_onnx.data.dataset import Dataset, load_data
from domino_onnx.data.inputs import InputSpec, input_specs
from domino_onnx.data.samples import Samples

__all__ = ["Dataset", "InputSpec", "Samples", "input_specs", "load_data"]
