"""The forms that a file's weights may be stored in besides dense: packed, and (only read) ONNX's sparse tensors."""

from domino_onnx.graph.io.forms.dense_view import dense_view
from domino_onnx.graph.io.forms.densify import sparse_weights
from domino_onnx.graph.io.forms.store import WeightForm, store_as
from domino_onnx.graph.io.forms.unpack import read_storage

__all__ = ["WeightForm", "dense_view", "read_storage", "sparse_weights", "store_as"]
