"""Which dense weights does a file with packed ones mean?

A weight is unpacked only if the operators in the file are those that its record asks for. So what is read here is what
a runtime computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from domino_onnx.errors import ModelError
from domino_onnx.graph.io.forms.expansion import Expansion, Part, expansion, refusal
from domino_onnx.graph.io.tensors import store_reshaped
from domino_onnx.graph.walk import constant_tensor, normal_domain
from domino_onnx.storage import STORAGE_KEY, Packed, Storage, StoredWeight, unpack

__all__ = ["read_storage", "unpack_all"]

_Load = Callable[[TensorProto], NDArray[Any]]


def read_storage(model: ModelProto) -> Storage | None:
    """How a file says that its weights are stored; None for a dense file. ModelError if that can't be read."""
    return next((Storage.from_json(entry.value) for entry in model.metadata_props if entry.key == STORAGE_KEY), None)


def unpack_all(model: ModelProto, storage: Storage, load: _Load, opset: int) -> None:
    """Put dense tensors in the places of packed ones, under the weights' names; edits `model`.

    What another tool has made dense already, or has dropped, is left.

    Raises
    ------
    ModelError
        If parts of a weight are missing, don't belong together, or aren't put together by the operators that the
        record asks for.
    """
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    constants = {node.output[0]: node for node in model.graph.node if constant_tensor(node) is not None}
    expansions: list[Expansion] = []
    dropped: set[str] = set()
    for number, weight in enumerate(storage.weights):
        name = f"{storage.prefix}{number}.values"
        node = constants.get(name)
        values = initializers.get(name) if node is None else constant_tensor(node)
        if values is None:
            continue
        part = _part(weight, storage.prefix, number, values, opset)
        store_reshaped(values, _unpacked(weight, values, initializers.get(part.part("codes")), load))
        expansions.append(expansion(part, opset))
        dropped.add(part.part("codes"))
        if node is not None:
            node.output[0] = weight.name
        else:
            values.name = weight.name
    _check_operators(model, initializers, expansions)
    _drop(model, expansions, dropped, keep=constants.values())


def _drop(
    model: ModelProto, expansions: Iterable[Expansion], initializers: set[str], keep: Iterable[NodeProto]
) -> None:
    """Remove what expanded the weights: operators (but for some nodes), their constants, and more initializers."""
    unused = initializers | {constant.name for each in expansions for constant in each.constants}
    made = {node.output[0] for each in expansions for node in each.nodes}
    kept = {id(node) for node in keep}
    _keep(model.graph.initializer, lambda tensor: tensor.name not in unused)
    _keep(model.graph.node, lambda node: id(node) in kept or not made.intersection(node.output))


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
    try:
        if codes is None or codes.data_type != TensorProto.UINT8:
            raise ModelError("its positions are missing, or are not bytes")
        return unpack(Packed(shape=weight.shape, values=load(values), codes=load(codes), grouping=weight.grouping))
    except ModelError as error:
        raise ModelError(f"packed weight {weight.name!r}: {error}") from None


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


def _keep(field: Any, wanted: Callable[[Any], bool]) -> None:
    for position in reversed(range(len(field))):
        if not wanted(field[position]):
            del field[position]
