"""The user's data: files and images as samples for a model, checked before any work."""

from domino_onnx.data.augment import Augmentation
from domino_onnx.data.batching import BatchAxes, Batching, batching_of
from domino_onnx.data.dataset import Dataset
from domino_onnx.data.feed import Feed, feed_of
from domino_onnx.data.inputs import InputSpec, input_specs, with_shapes
from domino_onnx.data.joined import joined
from domino_onnx.data.loading import check_no_model, load_data
from domino_onnx.data.samples import Samples
from domino_onnx.data.split import Split
from domino_onnx.data.stream import Stream

__all__ = [
    "Augmentation",
    "BatchAxes",
    "Batching",
    "Dataset",
    "Feed",
    "InputSpec",
    "Samples",
    "Split",
    "Stream",
    "batching_of",
    "check_no_model",
    "feed_of",
    "input_specs",
    "joined",
    "load_data",
    "with_shapes",
]
