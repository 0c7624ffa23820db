"""Which weights does a file store as ONNX sparse tensors, and what are their dense values?

Sparse tensors are only read. The weights are written dense or packed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from domino_onnx.errors import ModelError
from domino_onnx.graph.io.external import is_external
from domino_onnx.graph.io.forms.expansion import ITEMSIZES
from domino_onnx.graph.io.tensors import store_reshaped
from domino_onnx.graph.walk import normal_domain
from domino_onnx.storage import scatter

__all__ = ["densify", "sparse_weights"]

_Load = Callable[[TensorProto], NDArray[Any]]


def sparse_weights(model: ModelProto) -> Iterator[SparseTensorProto]:
    """The sparse tensors of the main graph whose element type a weight can have."""
    yield from (sparse for sparse in model.graph.sparse_initializer if _is_weight(sparse))
    yield from (attribute.sparse_tensor for _, attribute in _sparse_constants(model))


def densify(model: ModelProto, load: _Load) -> bool:
    """Replace the sparse weights of the main graph by dense tensors; edits `model`.

    A Constant keeps its place. New initializers come after all others.

    Returns
    -------
    Whether there were any.

    Raises
    ------
    ModelError
        If values, indices and shape of a sparse tensor don't belong together, or a dense one has the same name.
    """
    constants = list(_sparse_constants(model))
    for node, attribute in constants:
        tensor = _dense(attribute.sparse_tensor, node.output[0], load)
        attribute.name, attribute.type = "value", AttributeProto.TENSOR
        attribute.t.CopyFrom(tensor)
        attribute.ClearField("sparse_tensor")
    return _densify_initializers(model, load) or bool(constants)


def _sparse_constants(model: ModelProto) -> Iterator[tuple[NodeProto, AttributeProto]]:
    for node in model.graph.node:
        if node.op_type != "Constant" or normal_domain(node.domain) or not node.output:
            continue
        for attribute in node.attribute:
            if attribute.type == AttributeProto.SPARSE_TENSOR and _is_weight(attribute.sparse_tensor):
                yield node, attribute


def _densify_initializers(model: ModelProto, load: _Load) -> bool:
    initializers, sparse_initializers = model.graph.initializer, model.graph.sparse_initializer
    taken = {tensor.name for tensor in initializers}
    dense: list[TensorProto] = []
    for position in reversed(range(len(sparse_initializers))):
        sparse = sparse_initializers[position]
        if not _is_weight(sparse):
            continue
        name = sparse.values.name
        if name in taken:
            raise ModelError(f"the initializer {name!r} is stored both dense and sparse")
        dense.append(_dense(sparse, name, load))
        del sparse_initializers[position]
    initializers.extend(reversed(dense))
    return bool(dense)


def _is_weight(sparse: SparseTensorProto) -> bool:
    return sparse.values.data_type in ITEMSIZES


def _dense(sparse: SparseTensorProto, name: str, load: _Load) -> TensorProto:
    """The TensorProto of the values with zeros between them. External values make it external when it is written."""
    if sparse.indices.data_type != TensorProto.INT64:
        raise ModelError(f"sparse weight {name!r}: its indices are not int64")
    if any(size < 0 for size in sparse.dims):
        raise ModelError(f"sparse weight {name!r}: its shape {tuple(sparse.dims)} is impossible")
    try:
        values = scatter(load(sparse.values), load(sparse.indices), tuple(sparse.dims))
    except ModelError as error:
        raise ModelError(f"sparse weight {name!r}: {error}") from None
    tensor = TensorProto()
    tensor.CopyFrom(sparse.values)
    if not is_external(tensor):
        tensor.ClearField("external_data")
    store_reshaped(tensor, values)
    return tensor
