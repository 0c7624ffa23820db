"""Weights as ONNX's own sparse tensors: an index into the flattened weight for each value that isn't zero."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, SparseTensorProto, TensorProto

from domino_onnx.graph.io.external import is_external
from domino_onnx.graph.stored import StoredTensor, is_outlined, put, set_entry
from domino_onnx.storage import Storage, StoredWeight, coordinates
from domino_onnx.storage.codec import MOST_ZEROS

__all__ = ["Sparsing"]

_CONSTANT_SINCE = 11
_OWN_INPUTS_UNTIL_IR = 3


class Sparsing:
    """One pass over a model's weights; `finish` ends it."""

    def __init__(self, model: ModelProto, opset: int) -> None:
        self._graph, self._ir_version, self._opset = model.graph, model.ir_version, opset
        self._records: list[StoredWeight] = []

    def refusal(self, weight: StoredTensor) -> str | None:
        """Why a weight can't be a sparse tensor; None if it can."""
        if self._ir_version <= _OWN_INPUTS_UNTIL_IR:
            return f"IR version {self._ir_version} wants all initializers among the graph's inputs"
        if weight.node is not None and self._opset < _CONSTANT_SINCE:
            return f"opset {self._opset} has no sparse Constant; {_CONSTANT_SINCE} is the first that has"
        return None

    def store(self, weight: StoredTensor, values: NDArray[Any]) -> tuple[str | None, int]:
        """Make a weight sparse if that is smaller: how, None if it isn't, and the bytes that it takes or would take."""
        indices = coordinates(values)
        needed = len(indices) * (values.itemsize + indices.itemsize)
        if needed >= values.nbytes or values.size > MOST_ZEROS * len(indices):
            return None, needed
        outside = is_external(weight.tensor) or is_outlined(weight.tensor)
        sparse = SparseTensorProto(dims=values.shape)
        put(weight.tensor, values.reshape(-1)[indices])
        sparse.values.CopyFrom(weight.tensor)
        sparse.indices.data_type = TensorProto.INT64
        sparse.indices.raw_data = b""
        put(sparse.indices, indices)
        if outside:
            set_entry(sparse.indices, "location", "")  # marks it; where it comes to lie is for whoever writes it
        if weight.node is None:
            self._graph.sparse_initializer.append(sparse)
        else:
            _make_sparse(weight.node.attribute, sparse)
        self._records.append(StoredWeight(name=weight.name, shape=values.shape, place=weight.place))
        return "coordinates", needed

    def finish(self) -> Storage | None:
        """Remove the dense initializers, and tell what was done; None if nothing was."""
        places = [record.place for record in self._records if record.place is not None]
        for place in sorted(places, reverse=True):
            del self._graph.initializer[place]
        return Storage(form="sparse", weights=tuple(self._records)) if self._records else None


def _make_sparse(attributes: Any, sparse: SparseTensorProto) -> None:
    """A Constant's `value` becomes its `sparse_value`, in the same place."""
    attribute = next(attribute for attribute in attributes if attribute.name == "value")
    attribute.name, attribute.type = "sparse_value", AttributeProto.SPARSE_TENSOR
    attribute.sparse_tensor.CopyFrom(sparse)
    attribute.ClearField("t")
