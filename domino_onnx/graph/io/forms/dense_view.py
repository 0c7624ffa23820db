"""What does a model look like when all its weights are dense?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from domino_onnx.graph.io.forms.densify import densify
from domino_onnx.graph.io.forms.unpack import unpack_all
from domino_onnx.graph.io.tensors import read_tensor
from domino_onnx.storage import STORAGE_KEY, FileForm, Storage

__all__ = ["dense_view"]


def dense_view(model: ModelProto, storage: Storage | None, folder: Path, opset: int) -> FileForm:
    """Put dense tensors in the places of packed and sparse ones, under their names; edits `model`.

    Values in an external file are loaded.

    Returns
    -------
    The form that the weights had.

    Raises
    ------
    ModelError
        If parts of a weight are missing or don't belong together.
    """

    def load(tensor: TensorProto) -> NDArray[Any]:
        return read_tensor(tensor, folder)

    if storage is not None:
        unpack_all(model, storage, load, opset)
        for position in reversed(range(len(model.metadata_props))):
            if model.metadata_props[position].key == STORAGE_KEY:
                del model.metadata_props[position]
    had_sparse = densify(model, load)
    if storage is not None:
        return "packed"
    return "sparse" if had_sparse else "dense"
