"""Activations that no layer takes: several nodes of a pass over memory each become one operator."""

from __future__ import annotations

import dataclasses
from typing import Any

from onnx import ModelProto

from domino_onnx.deployment.activations import Activation, activation_behind, scalar_of
from domino_onnx.deployment.layer import Shapes
from domino_onnx.deployment.operators import DOMAIN, import_operators
from domino_onnx.deployment.surgeon import drop_unread, exported, must_stay, open_graph, require_surgeon
from domino_onnx.graph import sort_nodes

__all__ = ["with_activations"]

_FEWEST_NODES = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """y = activation(x * scale + offset), and the nodes that compute it."""

    data: Any
    scale: float
    offset: float
    activation: Activation
    nodes: tuple[Any, ...]


def with_activations(model: ModelProto, floats: Shapes) -> tuple[ModelProto, int]:
    """The model with its activations of several nodes as one operator each, and how many these are.

    Parameters
    ----------
    floats
        Shapes of activations that are float32, as a run showed; others are left alone.
    """
    graph = open_graph(model)
    outputs = must_stay(graph)
    count = 0
    for tensor in [tensor for node in graph.nodes for tensor in node.outputs]:
        if tensor.name not in floats or not tensor.inputs:  # its node may be gone by now
            continue
        found = _found(tensor, outputs, len(floats[tensor.name]))
        if found is not None:
            _replace(graph, found)
            count += 1
    if not count:
        return model, 0
    drop_unread(graph)
    result = exported(graph, model)
    sort_nodes(result.graph)
    import_operators(result)
    return result, count


def _found(tensor: Any, outputs: set[int], rank: int) -> _Found | None:
    """The activation behind a tensor, with a factor and a summand in front of it."""
    data, scale, offset, nodes = tensor, 1.0, 0.0, list[Any]()
    while True:
        behind = activation_behind(tensor, outputs, rank)
        if behind is not None:
            nodes += behind[1]
            if len(nodes) < _FEWEST_NODES:
                return None
            return _Found(data=data, scale=scale, offset=offset, activation=behind[0], nodes=tuple(nodes))
        if id(tensor) in outputs or len(tensor.outputs) != 1:
            return None
        reader = tensor.outputs[0]
        if reader.domain or reader.op not in ("Add", "Mul") or len(nodes) == _FEWEST_NODES:
            return None
        value = scalar_of(reader.inputs[1] if reader.inputs[0] is tensor else reader.inputs[0], rank)
        if value is None:
            return None
        scale, offset = (scale, offset + value) if reader.op == "Add" else (scale * value, offset * value)
        nodes.append(reader)
        tensor = reader.outputs[0]


def _replace(graph: Any, found: _Found) -> None:
    """Put one node in the place of those that were found."""
    last = found.nodes[-1]
    output = last.outputs[0]
    for old in found.nodes:
        old.inputs.clear()
        old.outputs.clear()
    attributes = {"scale": found.scale, "offset": found.offset, **found.activation.attributes}
    made = require_surgeon().Node(
        op="NmActivation", attrs=attributes, inputs=[found.data], outputs=[output], domain=DOMAIN, name=last.name
    )
    graph.nodes.insert(graph.nodes.index(last), made)
    for old in found.nodes:
        graph.nodes.remove(old)
