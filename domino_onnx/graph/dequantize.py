"""Which weights can be stored as 8-bit integers, and how? As integers behind a DequantizeLinear.

Symmetric, with zero points of 0: a zero is the integer 0 in every channel.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from domino_onnx.graph.index import GraphIndex, Use
from domino_onnx.graph.insertion import NodeInsertion, names_in_use
from domino_onnx.graph.io.tensors import store_reshaped
from domino_onnx.graph.operators import PRUNABLE, operator_of, stored_view
from domino_onnx.graph.values import Scope, Stored
from domino_onnx.graph.walk import constant_tensor, subgraphs
from domino_onnx.scheme import WeightKey

__all__ = ["ChannelWeight", "channel_weights", "holds_integers", "quantize_in_place", "smaller_as_integers"]

_NODE = 200
"""Bytes that a node and the names of its inputs take, about."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChannelWeight:
    """A weight of Conv, ConvTranspose, Gemm or MatMul alone; `axis` of the stored tensor counts output channels."""

    key: WeightKey
    tensor: TensorProto
    axis: int


def channel_weights(model: ModelProto) -> list[ChannelWeight]:
    """The float32 weights that could be stored as integers, in file order.

    Left out are those that anything else reads, that readers see differently, that a graph input may replace, and
    those of local functions.
    """
    index = GraphIndex(model)
    readers: dict[WeightKey, list[tuple[Stored, int | None]]] = {}
    for use in index.uses():
        value = index.value(use)
        if isinstance(value, Stored):
            readers.setdefault(value.key, []).append((value, _channel_axis(use, value)))
    scopes = {scope.path: scope for scope in index.scopes}
    found = []
    for key, uses in readers.items():
        tensor, axis = uses[0][0].tensor, uses[0][1]
        if axis is None or any(other != axis for _, other in uses):
            continue
        if _gains_by_integers(key, tensor, scopes[key.scope], axis):
            found.append(ChannelWeight(key=key, tensor=tensor, axis=axis))
    return found


def holds_integers(model: ModelProto) -> bool:
    """Whether a weight is stored as integers already."""
    index = GraphIndex(model)
    weights = (index.value(use) for use in index.uses() if use.position in PRUNABLE.get(operator_of(use), ()))
    return any(isinstance(value, Stored) and value.scaling is not None for value in weights)


def quantize_in_place(
    model: ModelProto, weights: Iterable[tuple[ChannelWeight, NDArray[np.int8], NDArray[Any]]]
) -> None:
    """Store weights as integers under `<name>_quantized`, and make what they were read as of them again; edits `model`.

    Parameters
    ----------
    weights
        Of this model: each with its integers in the stored shape, and the scale of each output channel, float32.
    """
    graphs = list(_quantised_graphs(model.graph))
    holder = {id(tensor): graph for graph in graphs for tensor in graph.tensors}
    taken = names_in_use(model)
    for weight, integers, scales in weights:
        holder[id(weight.tensor)].quantize(weight, integers, scales, taken)
    for graph in graphs:
        graph.finish()


class _QuantisedGraph:
    """A graph or subgraph, the tensors that it stores itself, and the nodes that are inserted."""

    def __init__(self, graph: GraphProto) -> None:
        self._graph = graph
        self._insertion = NodeInsertion(graph)
        made = [(tensor, node) for node in graph.node for tensor in _constant(node)]
        self._makers = {id(tensor): node for tensor, node in made}
        self.tensors = [*graph.initializer, *(tensor for tensor, _ in made)]

    def quantize(
        self, weight: ChannelWeight, integers: NDArray[np.int8], scales: NDArray[Any], taken: set[str]
    ) -> None:
        name = weight.key.name
        stored, scale, zero = (_free(f"{name}_{part}", taken) for part in ("quantized", "scale", "zero_point"))
        weight.tensor.data_type = TensorProto.INT8
        weight.tensor.ClearField("float_data")
        store_reshaped(weight.tensor, integers)
        self._graph.initializer.extend(
            [numpy_helper.from_array(scales, scale), numpy_helper.from_array(np.zeros(scales.shape, np.int8), zero)]
        )
        maker = self._makers.get(id(weight.tensor))
        if maker is None:
            weight.tensor.name = stored
        else:
            maker.output[0] = stored
        made = helper.make_node("DequantizeLinear", [stored, scale, zero], [name], axis=weight.axis)
        self._insertion.add([made], behind=maker)

    def finish(self) -> None:
        """Sort the new nodes in: those of initializers first, that of a Constant right behind it."""
        self._insertion.finish()


def _quantised_graphs(graph: GraphProto) -> Iterator[_QuantisedGraph]:
    yield _QuantisedGraph(graph)
    for node in graph.node:
        for _, inner in subgraphs(node):
            yield from _quantised_graphs(inner)


def _channel_axis(use: Use, value: Stored) -> int | None:
    """The stored axis that counts the output channels of a use; None for uses that aren't a weight's."""
    if use.position not in PRUNABLE.get(operator_of(use), ()):
        return None
    view = stored_view(use, value)
    return None if view is None else view.output_axis


def _gains_by_integers(key: WeightKey, tensor: TensorProto, scope: Scope, axis: int) -> bool:
    """Whether a float32 weight may become integers, and needs fewer bytes then."""
    if tensor.data_type != TensorProto.FLOAT or scope.in_function:
        return False
    return key.name not in scope.inputs and smaller_as_integers(math.prod(tensor.dims), tensor.dims[axis])


def smaller_as_integers(size: int, channels: int) -> bool:
    """Whether so many float32 values take fewer bytes as integers, with a scale for each channel and a node."""
    return 3 * size > 5 * channels + _NODE


def _constant(node: NodeProto) -> list[TensorProto]:
    tensor = constant_tensor(node)
    return [] if tensor is None else [tensor]


def _free(name: str, taken: set[str]) -> str:
    """The name, or one made of it that nothing in the model has; it is taken from now on."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
