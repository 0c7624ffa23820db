"""In which forms besides dense can a file store weights? Packed, and ONNX's sparse tensors, which are only read."""

from domino_onnx.graph.io.forms.dense_view import dense_view
from domino_onnx.graph.io.forms.densify import sparse_weights
from domino_onnx.graph.io.forms.store import WeightForm, store_as
from domino_onnx.graph.io.forms.unpack import read_storage

__all__ = ["WeightForm", "dense_view", "read_storage", "sparse_weights", "store_as"]
