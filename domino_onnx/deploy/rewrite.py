"""A model with some of its layers as operators that skip zeros."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from domino_onnx.deploy.layers import Layer
from domino_onnx.deploy.operators import DOMAIN, DOMAIN_VERSION, Kind, written
from domino_onnx.deploy.surgeon import exported, require_surgeon

__all__ = ["rewritten_graph"]


def rewritten_graph(model: ModelProto, graph: Any, chosen: Mapping[Layer, Kind]) -> ModelProto:
    """`model` with each layer in the kind that was chosen; `graph`, onnx-graphsurgeon's view of it, is used up."""
    names = _new_names(model)
    tensors = graph.tensors()
    for layer, kind in chosen.items():
        if kind != "dense":
            _replace(graph, tensors, layer, kind, names)
    _drop_unread_constants(graph)
    graph.toposort()
    result = exported(graph, model)
    if any(node.domain == DOMAIN for node in result.graph.node):
        result.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
    return result


def _replace(graph: Any, tensors: Mapping[str, Any], layer: Layer, kind: Kind, names: Iterator[str]) -> None:
    surgeon = require_surgeon()
    node, output = written(layer, kind), tensors[layer.output]
    inputs = []
    for each in node.inputs:
        if isinstance(each, np.ndarray):
            inputs.append(surgeon.Constant(next(names), each))
        else:
            inputs.append(tensors[each] if each else surgeon.Variable.empty())
    place = graph.nodes.index(layer.nodes[-1])
    for old in layer.nodes:
        old.inputs.clear()
        old.outputs.clear()
    made = surgeon.Node(
        op=node.op,
        name=layer.nodes[0].name,
        domain=DOMAIN,
        attrs=dict(node.attributes),
        inputs=inputs,
        outputs=[output],
    )
    graph.nodes.insert(place, made)
    for old in layer.nodes:
        graph.nodes.remove(old)


def _drop_unread_constants(graph: Any) -> None:
    read = {id(tensor) for node in graph.nodes for tensor in node.inputs} | {id(tensor) for tensor in graph.outputs}
    graph.nodes[:] = [node for node in graph.nodes if node.op != "Constant" or id(node.outputs[0]) in read]


def _new_names(model: ModelProto) -> Iterator[str]:
    """Names for what is stored, which nothing in the model has."""
    taken = {tensor.name for tensor in model.graph.initializer} | {value.name for value in model.graph.input}
    taken |= {name for node in model.graph.node for name in (*node.input, *node.output)}
    prefix = f"{DOMAIN}."
    while any(name.startswith(prefix) for name in taken):
        prefix += "_"
    return (f"{prefix}{number}" for number in range(1 << 30))
