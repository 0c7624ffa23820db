"""Which weights of a dense model can be stored packed, and why do the others stay dense?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from domino_onnx.graph.io.external import is_external
from domino_onnx.graph.io.forms.expansion import ITEMSIZES
from domino_onnx.graph.io.forms.pack import PackableWeight, Packing
from domino_onnx.graph.io.forms.worth import worth_packing
from domino_onnx.graph.io.listed import replaceable_names
from domino_onnx.graph.walk import constant_tensor, nodes, subgraphs
from domino_onnx.storage import Form, Storage

__all__ = ["WeightForm", "store_as"]

_SMALLEST = 64
"""Values of a tensor below which it stays dense and unreported."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WeightForm:
    """How one weight is stored now (positions, bitmask or dense), and why if it stayed dense.

    `stored_bytes` has what the weight alone takes in the file, its operators with it. Constants that packed weights
    share are not in it.
    """

    name: str
    kind: str
    dense_bytes: int
    stored_bytes: int
    reason: str | None = None


def store_as(
    model: ModelProto,
    form: Form,
    opset: int,
    values: Callable[[str, TensorProto], NDArray[Any]],
    schemes: Mapping[str, tuple[int, int]],
) -> tuple[Storage | None, tuple[WeightForm, ...]]:
    """Store the weights of a dense model in another form wherever that makes the file smaller; edits `model`.

    Messages of the model are edited and sorted, but never copied: a caller that holds one still holds the model's.

    Parameters
    ----------
    values
        Gives the values of a stored tensor of the main graph. They are asked for once to decide, and once more if the
        tensor is packed.
    schemes
        Axis and M of the schemes that weights are known to follow, by name.

    Returns
    -------
    The record for the file, None if all weights are dense, and the form of each tensor of two axes or more.
    """
    if form == "dense":
        return None, ()
    packing = Packing(model, opset, schemes)
    inputs = replaceable_names(model)
    weights = list(_weights(model.graph))
    reasons = [_refusal(weight, inputs) or packing.refusal(weight) for weight in weights]
    looks = {
        place: packing.look(weight, values(weight.name, weight.tensor), place)
        for place, weight in enumerate(weights)
        if reasons[place] is None
    }
    places = list(looks)
    worth = {places[number] for number in worth_packing([look.gain for look in looks.values()])}
    forms = []
    for place, weight in enumerate(weights):
        if place not in worth:
            forms.append(_left(weight.name, weight.tensor, reasons[place] or "packing saves nothing"))
            continue
        look, array = looks[place], values(weight.name, weight.tensor)
        packing.store(weight, array, look.form)
        kind = "bitmask" if look.form.grouping is None else "positions"
        forms.append(WeightForm(name=weight.name, kind=kind, dense_bytes=array.nbytes, stored_bytes=look.nbytes))
    forms += [_left(name, tensor, "is in a subgraph or a local function") for name, tensor in _nested(model)]
    return packing.finish(), tuple(forms)


def _weights(graph: GraphProto) -> Iterator[PackableWeight]:
    for tensor in graph.initializer:
        if _is_weight(tensor):
            yield PackableWeight(name=tensor.name, tensor=tensor)
    for node in graph.node:
        constant = constant_tensor(node)
        if constant is not None and _is_weight(constant):
            yield PackableWeight(name=node.output[0], tensor=constant, node=node)


def _nested(model: ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Weights outside the main graph."""
    inner: list[NodeProto] = [node for function in model.functions for node in function.node]
    for node in nodes(model):
        for _, graph in subgraphs(node):
            yield from ((tensor.name, tensor) for tensor in graph.initializer if _is_weight(tensor))
            inner += graph.node
    for node in inner:
        constant = constant_tensor(node)
        if constant is not None and _is_weight(constant):
            yield node.output[0], constant


def _is_weight(tensor: TensorProto) -> bool:
    return len(tensor.dims) >= 2 and tensor.data_type in ITEMSIZES and math.prod(tensor.dims) >= _SMALLEST


def _refusal(weight: PackableWeight, inputs: set[str]) -> str | None:
    if weight.name in inputs:
        return "a graph input of the same name may replace it"
    if weight.node is not None and is_external(weight.tensor):
        return "is a Constant node with external data"
    return None


def _left(name: str, tensor: TensorProto, reason: str) -> WeightForm:
    size = math.prod(tensor.dims) * ITEMSIZES[tensor.data_type]
    return WeightForm(name=name, kind="dense", dense_bytes=size, stored_bytes=size, reason=reason)
