"""A model with some of its layers as operators that skip zeros."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, helper

from domino_onnx.deployment.bridges import bridged, is_global_average, with_shared_grids
from domino_onnx.deployment.grids import Grid
from domino_onnx.deployment.layer import Layer
from domino_onnx.deployment.operators import DOMAIN, DOMAIN_VERSION, Kind, written
from domino_onnx.deployment.surgeon import drop_unread_constants, exported, require_surgeon
from domino_onnx.graph import sort_nodes
from domino_onnx.scheme import MANIFEST_KEY

__all__ = ["rewritten_graph"]


def rewritten_graph(
    model: ModelProto, graph: Any, chosen: Mapping[Layer, Kind], grids: Mapping[str, Grid] | None = None
) -> ModelProto:
    """`model` with each layer in the kind that was chosen; `graph`, onnx-graphsurgeon's view of it, is used up.

    Parameters
    ----------
    grids
        Of the activations around convolutions in int8, which become bytes with the channels last. So do those of pools
        and concatenations between them. What else reads or writes one of these activations keeps the floats.
    """
    work = _Rewriting(graph, _new_names(model), with_shared_grids(graph, grids or {}))
    for layer, kind in chosen.items():
        if kind != "dense":
            work.replace(layer, kind)
    work.put_bridges()
    work.put_borders()
    drop_unread_constants(graph)
    result = exported(graph, model)
    sort_nodes(result.graph)  # graphsurgeon's own order overlooks what subgraphs read
    if any(node.domain == DOMAIN for node in result.graph.node):
        result.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))
        _drop_manifest(result)
    return result


class _Rewriting:
    """A graph while its layers are replaced, and the activations that are there as bytes."""

    def __init__(self, graph: Any, names: Iterator[str], grids: Mapping[str, Grid]) -> None:
        self._graph = graph
        self._surgeon = require_surgeon()
        self._tensors = graph.tensors()
        self._names = names
        self._grids = grids
        self._bytes: dict[str, Any] = {}
        self._made: set[str] = set()

    def replace(self, layer: Layer, kind: Kind) -> None:
        """Put one node in the place of a layer's nodes."""
        node = written(layer, kind, self._grids)
        in_bytes = node.op == "NmConvInt8"
        inputs = [self._input(each, in_bytes=in_bytes) for each in node.inputs]
        for old in layer.nodes:
            old.inputs.clear()
            old.outputs.clear()
        if in_bytes:
            self._made.add(layer.output)
        output = self._as_bytes(layer.output) if in_bytes else self._tensors[layer.output]
        made = self._node(node.op, inputs, output, node.attributes, name=layer.nodes[0].name)
        self._graph.nodes.insert(self._graph.nodes.index(layer.nodes[-1]), made)
        for old in layer.nodes:
            self._graph.nodes.remove(old)

    def put_bridges(self) -> None:
        """Let pools and concatenations between bytes take and give bytes, and means of a channel take them."""
        for old, bridge in bridged(self._graph.nodes, self._made, self._bytes.keys() - self._made):
            name = old.outputs[0].name
            attributes = dict(bridge.attributes)
            if bridge.domain:
                attributes["zero_point"] = self._grids[name].zero_point
            inputs = [self._as_bytes(tensor.name) for tensor in old.inputs]
            self._made.add(name)
            self._put(old, bridge.op, inputs, self._as_bytes(name), attributes, domain=bridge.domain)
        for old in [node for node in self._graph.nodes if is_global_average(node)]:
            name = old.inputs[0].name
            if name in self._made:
                grid = self._grids[name]
                attributes = {"scale": grid.scale, "zero_point": grid.zero_point}
                self._put(old, "NmGlobalAveragePoolInt8", [self._as_bytes(name)], old.outputs[0], attributes)

    def put_borders(self) -> None:
        """Make bytes of floats, and floats of bytes, wherever the other side wants them."""
        outputs = {id(tensor) for tensor in self._graph.outputs}
        for name, in_bytes in list(self._bytes.items()):
            floats, grid = self._tensors[name], self._grids[name]
            attributes = {"scale": grid.scale, "zero_point": grid.zero_point}
            if name not in self._made:
                self._graph.nodes.append(self._node("NmToBytes", [floats], in_bytes, attributes))
            elif floats.outputs or id(floats) in outputs:
                self._graph.nodes.append(self._node("NmToFloats", [in_bytes], floats, attributes))

    def _input(self, each: Any, *, in_bytes: bool) -> Any:
        if isinstance(each, np.ndarray):
            return self._surgeon.Constant(next(self._names), each)
        if not each:
            return self._surgeon.Variable.empty()
        return self._as_bytes(each) if in_bytes else self._tensors[each]

    def _as_bytes(self, name: str) -> Any:
        """The activation in bytes, with the channels last."""
        if name not in self._bytes:
            self._bytes[name] = self._surgeon.Variable(next(self._names))
        return self._bytes[name]

    def _put(
        self, old: Any, op: str, inputs: list[Any], output: Any, attributes: Mapping[str, Any], domain: str = DOMAIN
    ) -> None:
        """One node in the place of another one."""
        place = self._graph.nodes.index(old)
        old.inputs.clear()
        old.outputs.clear()
        self._graph.nodes[place] = self._node(op, inputs, output, attributes, domain=domain, name=old.name)

    def _node(self, op: str, inputs: list[Any], output: Any, attributes: Mapping[str, Any], **more: str) -> Any:
        told = {"domain": DOMAIN, **more}
        return self._surgeon.Node(op=op, attrs=dict(attributes), inputs=inputs, outputs=[output], **told)


def _drop_manifest(model: ModelProto) -> None:
    """It tells of weights that aren't there under their names any more."""
    kept = [entry for entry in model.metadata_props if entry.key != MANIFEST_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


def _new_names(model: ModelProto) -> Iterator[str]:
    """Names for what is stored, which nothing in the model has."""
    taken = {tensor.name for tensor in model.graph.initializer} | {value.name for value in model.graph.input}
    taken |= {name for node in model.graph.node for name in (*node.input, *node.output)}
    prefix = f"{DOMAIN}."
    while any(name.startswith(prefix) for name in taken):
        prefix += "_"
    return (f"{prefix}{number}" for number in range(1 << 30))
