"""The forms that a file's weights may be stored in besides dense: packed, and ONNX's sparse tensors."""

from domino_onnx.graph.io.forms.store import Outcome, store_as
from domino_onnx.graph.io.forms.unpack import dense_view, read_storage

__all__ = ["Outcome", "dense_view", "read_storage", "store_as"]
