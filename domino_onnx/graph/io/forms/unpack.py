"""Packed and sparse weights seen as the dense tensors that they stand for, so that nobody else need know of them.

A packed weight is taken for one only if the operators that stand in the file are those that its record asks for: what
is read here is what a runtime computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from domino_onnx.errors import ModelError
from domino_onnx.graph.io.forms.expansion import ITEMSIZES, Expansion, Part, expansion, refusal
from domino_onnx.graph.io.tensors import read_tensor
from domino_onnx.graph.stored import put
from domino_onnx.graph.walk import constant_tensor, normal_domain
from domino_onnx.storage import STORAGE_KEY, Packed, Storage, StoredWeight, scatter, unpack

__all__ = ["dense_view", "read_storage"]

_Load = Callable[[TensorProto], NDArray[Any]]


def read_storage(model: ModelProto) -> Storage | None:
    """How a file says that its weights are stored; None for a dense file. ModelError if that can't be read."""
    return next((Storage.from_json(entry.value) for entry in model.metadata_props if entry.key == STORAGE_KEY), None)


def dense_view(model: ModelProto, storage: Storage | None, folder: Path, opset: int, *, foreign: bool = False) -> None:
    """Put dense tensors where packed and sparse ones stand, under their names and in their places; edits `model`.

    Values that lie in an external file are loaded. What another tool has made dense already, or has dropped, is left.

    Parameters
    ----------
    foreign
        Whether sparse initializers of which `storage` knows nothing are made dense as well.

    Raises
    ------
    ModelError
        If parts of a weight are missing, don't belong together, or aren't put together by the operators that the
        record asks for.
    """

    def load(tensor: TensorProto) -> NDArray[Any]:
        return read_tensor(tensor, folder)

    if storage is not None and storage.form == "packed":
        _unpack_all(model, storage, load, opset)
    known = storage.weights if storage is not None and storage.form == "sparse" else ()
    _densify_all(model, known, load, foreign=foreign)
    for position in reversed(range(len(model.metadata_props))):
        if model.metadata_props[position].key == STORAGE_KEY:
            del model.metadata_props[position]


# Packed


def _unpack_all(model: ModelProto, storage: Storage, load: _Load, opset: int) -> None:
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    constants = {node.output[0]: node for node in model.graph.node if constant_tensor(node) is not None}
    expansions: list[Expansion] = []
    dropped: set[str] = set()
    for number, weight in enumerate(storage.weights):
        values_name = f"{storage.prefix}{number}.values"
        node = constants.get(values_name)
        values = initializers.get(values_name) if node is None else constant_tensor(node)
        if values is None:
            continue
        part = _part(weight, storage.prefix, number, values, opset)
        codes = initializers.get(part.part("codes"))
        try:
            tensor = _unpacked(weight, values, codes, load)
        except ModelError as error:
            raise ModelError(f"packed weight {weight.name!r}: {error}") from None
        expansions.append(expansion(part, opset))
        dropped.add(part.part("codes"))
        put(values, tensor)
        if node is not None:
            node.output[0] = weight.name
        else:
            values.name = weight.name
    _check_operators(model, initializers, expansions)
    dropped |= {constant.name for each in expansions for constant in each.constants}
    made = {node.output[0] for each in expansions for node in each.nodes}
    _keep(model.graph.initializer, lambda tensor: tensor.name not in dropped)
    ours = {id(node) for node in constants.values()}
    _keep(model.graph.node, lambda node: id(node) in ours or not made.intersection(node.output))


def _part(weight: StoredWeight, prefix: str, number: int, values: TensorProto, opset: int) -> Part:
    reason = refusal(values.data_type, opset)
    if reason is not None:
        raise ModelError(f"packed weight {weight.name!r}: {reason}")
    return Part(
        name=weight.name,
        prefix=prefix,
        number=number,
        shape=weight.shape,
        stored=tuple(values.dims),
        data_type=values.data_type,
        grouping=weight.grouping,
    )


def _unpacked(weight: StoredWeight, values: TensorProto, codes: TensorProto | None, load: _Load) -> NDArray[Any]:
    if codes is None or codes.data_type != TensorProto.UINT8:
        raise ModelError("its positions are missing, or are no bytes")
    return unpack(Packed(shape=weight.shape, values=load(values), codes=load(codes), grouping=weight.grouping))


def _check_operators(model: ModelProto, initializers: dict[str, TensorProto], expansions: Iterable[Expansion]) -> None:
    """The nodes and constants in the file are those that we would write, but for names and remarks of nodes."""
    producers = {name: node for node in model.graph.node for name in node.output}
    for each in expansions:
        name = each.nodes[-1].output[0]
        for node in each.nodes:
            found = producers.get(node.output[0])
            if found is None or _meaning(found) != _meaning(node):
                raise ModelError(
                    f"packed weight {name!r}: the operators that expand it aren't those that its record asks for; "
                    "another tool has changed them: let that tool fold constants, or take the file from before"
                )
        for constant in each.constants:
            if initializers.get(constant.name) != constant:
                raise ModelError(f"packed weight {name!r}: the constant {constant.name!r} is missing, or is another")


def _meaning(node: NodeProto) -> tuple[object, ...]:
    attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
    return normal_domain(node.domain), node.op_type, tuple(node.input), tuple(node.output), attributes


# Sparse


def _densify_all(model: ModelProto, known: tuple[StoredWeight, ...], load: _Load, *, foreign: bool) -> None:
    recorded = {weight.name: weight for weight in known}
    for node in model.graph.node:
        for attribute in node.attribute if node.op_type == "Constant" and not normal_domain(node.domain) else ():
            if attribute.type == AttributeProto.SPARSE_TENSOR and (node.output[0] in recorded or foreign):
                tensor = _dense(attribute.sparse_tensor, node.output[0], load)
                attribute.name, attribute.type = "value", AttributeProto.TENSOR
                attribute.t.CopyFrom(tensor)
                attribute.ClearField("sparse_tensor")
    taken = {
        sparse.values.name: _dense(sparse, sparse.values.name, load)
        for sparse in model.graph.sparse_initializer
        if sparse.values.name in recorded or foreign
    }
    for name in taken.keys() - recorded.keys():
        del taken[name].external_data[:]
    if taken:
        _insert(model.graph.initializer, taken, recorded)
        _keep(model.graph.sparse_initializer, lambda sparse: sparse.values.name not in taken)


def _insert(initializers: Any, tensors: dict[str, TensorProto], recorded: dict[str, StoredWeight]) -> None:
    """Put each tensor where it once stood, those that never did at the end."""
    order = [tensor.name for tensor in initializers]
    places = {name: recorded[name].place if name in recorded else None for name in tensors}
    clashing = next((name for name in order if name in tensors), None)
    if clashing is not None:
        raise ModelError(f"the initializer {clashing!r} is stored both dense and sparse")
    for name in sorted(tensors, key=lambda name: (places[name] is None, places[name] or 0)):
        place = places[name]
        order.insert(len(order) if place is None else place, name)
    for tensor in tensors.values():
        initializers.add().CopyFrom(tensor)
    rank = {name: position for position, name in enumerate(order)}
    initializers.sort(key=lambda tensor: rank[tensor.name])


def _dense(sparse: SparseTensorProto, name: str, load: _Load) -> TensorProto:
    """The dense tensor of a sparse one: its values' TensorProto with all the rest of it, and the zeros between."""
    if sparse.indices.data_type != TensorProto.INT64:
        raise ModelError(f"sparse weight {name!r}: its indices are no int64")
    if sparse.values.data_type not in ITEMSIZES:
        kind = TensorProto.DataType.Name(sparse.values.data_type).lower()
        raise ModelError(f"sparse weight {name!r}: {kind} values aren't read")
    try:
        values = scatter(load(sparse.values), load(sparse.indices), tuple(sparse.dims))
    except ModelError as error:
        raise ModelError(f"sparse weight {name!r}: {error}") from None
    tensor = TensorProto()
    tensor.CopyFrom(sparse.values)
    put(tensor, values)
    return tensor


def _keep(field: Any, wanted: Callable[[Any], bool]) -> None:
    for position in reversed(range(len(field))):
        if not wanted(field[position]):
            del field[position]
