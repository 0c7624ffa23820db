"""A model with some of its layers as operators that skip zeros."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto

from domino_onnx.deployment.bridges import Bridge, bridged, means_of_channels, with_shared_grids
from domino_onnx.deployment.byte_values import ByteValues
from domino_onnx.deployment.file_bridges import JOINING, file_bridged
from domino_onnx.deployment.file_grids import file_values
from domino_onnx.deployment.grids import Grid
from domino_onnx.deployment.layer import Layer, Shapes
from domino_onnx.deployment.operators import DOMAIN, Kind, import_operators, written
from domino_onnx.deployment.surgeon import drop_unread, exported, require_surgeon
from domino_onnx.graph import sort_nodes
from domino_onnx.graph.insertion import names_in_use
from domino_onnx.scheme import MANIFEST_KEY

__all__ = ["rewritten_graph"]

_MATRIX = 2


def rewritten_graph(
    model: ModelProto,
    graph: Any,
    chosen: Mapping[Layer, Kind],
    grids: Mapping[str, Grid] | None = None,
    shapes: Shapes | None = None,
) -> ModelProto:
    """`model` with each layer in the kind that was chosen; `graph`, onnx-graphsurgeon's view of it, is used up.

    Parameters
    ----------
    grids
        Of the activations around convolutions in int8, which become bytes with the channels last. So do those of what
        lies between them (`bridge_of`). What else reads or writes one of these activations keeps the floats.
    shapes
        Of activations, as far as they were seen in a run.
    """
    work = _Rewriting(graph, _new_names(model), with_shared_grids(graph, grids or {}), shapes or {})
    for layer, kind in chosen.items():
        if kind != "dense":
            work.replace(layer, kind)
    work.put_bridges()
    work.put_borders()
    drop_unread(graph)
    result = exported(graph, model)
    import_operators(result)
    sort_nodes(result.graph)  # graphsurgeon's own order overlooks what subgraphs read
    if any(node.domain == DOMAIN for node in result.graph.node):
        _drop_manifest(result)
    return result


class _Rewriting:
    """A graph while its layers are replaced."""

    def __init__(self, graph: Any, names: Iterator[str], grids: Mapping[str, Grid], shapes: Shapes) -> None:
        self._graph = graph
        self._surgeon = require_surgeon()
        self._tensors = graph.tensors()
        self._names = names
        self._shapes = shapes
        self._file = file_values(graph)
        self._grids = {**grids, **{name: value.grid for name, value in self._file.items()}}
        self._bytes = ByteValues(graph, names, self._grids, self._file)

    def replace(self, layer: Layer, kind: Kind) -> None:
        """Put one node in the place of a layer's nodes."""
        node = written(layer, kind, self._grids)
        rank = len(layer.shape) if layer.op == "Conv" else layer.rank
        in_bytes, is_image = node.op == "NmConvInt8", layer.op == "Conv"
        inputs = [self._input(each, rank, in_bytes=in_bytes, is_image=is_image) for each in node.inputs]
        place = self._graph.nodes.index(layer.nodes[-1])
        for old in layer.nodes:
            old.inputs.clear()
            old.outputs.clear()
        output = self._tensors[layer.output]
        if in_bytes:
            output = self._bytes.make(layer.output, rank, is_image=is_image)
        if in_bytes and rank == _MATRIX:
            inputs, output = self._as_lines(layer, inputs, output)
        made = self._node(node.op, inputs, [output], node.attributes, name=layer.nodes[0].name)
        self._graph.nodes.insert(place, made)
        for old in layer.nodes:
            self._graph.nodes.remove(old)

    def put_bridges(self) -> None:
        """Let what lies between bytes take and give bytes (`bridge_of`), and means of a channel take them."""
        known = self._bytes
        others = [node for node in self._graph.nodes if not self._is_of_file(node)]
        for old, bridge, rank in bridged(others, known.images(made=True), known.images(made=False)):
            self._put_bridge(old, bridge, rank)
        images = [known.images(made=made) for made in (True, False)]
        for old, bridge, rank in file_bridged(self._graph.nodes, self._file, self._shapes, *images):
            if old.op in JOINING:
                self._put_requantized(old, bridge.attributes, rank)
            else:
                self._put_bridge(old, bridge, rank)
        made = known.images(made=True)
        for old in [node for node in self._graph.nodes if means_of_channels(node)]:
            key = known.key(old.inputs[0].name)
            means = means_of_channels(old, made[key]) if key in made else None
            if means is not None:
                self._put_means(old, made[key], is_dropped=means == "dropped")

    def put_borders(self) -> None:
        """Convert bytes wherever the other side wants something else."""
        self._bytes.put_borders()

    def _is_of_file(self, node: Any) -> bool:
        """Whether a node reads or gives what the file holds in 8 bits."""
        integers = {value.integers for value in self._file.values()}
        return any(each.name in self._file or each.name in integers for each in (*node.inputs, *node.outputs))

    def _put_bridge(self, old: Any, bridge: Bridge, rank: int) -> None:
        if not bridge.has_one_grid:
            self._put_requantized(old, bridge.attributes, rank)
            return
        attributes = dict(bridge.attributes)
        if bridge.op == "NmPoolInt8":
            attributes["zero_point"] = self._grids[old.outputs[0].name].zero_point
        inputs = [self._bytes.read(tensor.name, rank) for tensor in old.inputs[: bridge.data]]
        stored = [self._surgeon.Constant(next(self._names), array) for array in bridge.stored]
        outputs = [self._bytes.make(tensor.name, rank) for tensor in old.outputs]
        self._put(old, bridge.op, [*inputs, *stored], outputs, attributes, domain=bridge.domain)

    def _put_requantized(self, old: Any, attributes: Mapping[str, Any], rank: int) -> None:
        """A node between DequantizeLinear and QuantizeLinear, each with a grid of its own."""
        name = old.outputs[0].name
        floats = [
            self._bytes.floats_of(self._bytes.read(tensor.name, rank), self._grids[tensor.name])
            for tensor in old.inputs
        ]
        result = self._bytes.new()
        self._bytes.quantized(result, self._grids[name], self._bytes.make(name, rank))
        self._put(old, old.op, floats, [result], attributes, domain="")

    def _put_means(self, old: Any, rank: int, *, is_dropped: bool) -> None:
        name, output = old.inputs[0].name, old.outputs[0]
        grid = self._grids[name]
        if is_dropped:
            if name not in self._file:
                return
            old.outputs.clear()
            means = self._bytes.new()
            self._graph.nodes.append(self._node("Flatten", [means], [output], {}, domain=""))
            output = means
        attributes = {"scale": grid.scale, "zero_point": grid.zero_point}
        self._put(old, "NmGlobalAveragePoolInt8", [self._bytes.read(name, rank)], [output], attributes)

    def _input(self, each: Any, rank: int, *, in_bytes: bool, is_image: bool) -> Any:
        if isinstance(each, np.ndarray):
            return self._surgeon.Constant(next(self._names), each)
        if not each:
            return self._surgeon.Variable.empty()
        return self._bytes.read(each, rank, is_image=is_image) if in_bytes else self._tensors[each]

    def _as_lines(self, layer: Layer, inputs: list[Any], output: Any) -> tuple[list[Any], Any]:
        """A matrix as lines of one place: convolutions want an axis in space."""
        outputs, columns = layer.shape
        lines = [self._reshaped(inputs[0], self._bytes.new(), [0, 1, columns]), *inputs[1:]]
        if layer.residual:
            lines[-1] = self._reshaped(inputs[-1], self._bytes.new(), [0, 1, outputs])
        result = self._bytes.new()
        self._reshaped(result, output, [0, outputs])
        return lines, result

    def _reshaped(self, tensor: Any, output: Any, shape: list[int]) -> Any:
        wanted = self._surgeon.Constant(next(self._names), np.array(shape, np.int64))
        self._graph.nodes.append(self._node("Reshape", [tensor, wanted], [output], {}, domain=""))
        return output

    def _put(
        self,
        old: Any,
        op: str,
        inputs: list[Any],
        outputs: list[Any],
        attributes: Mapping[str, Any],
        domain: str = DOMAIN,
    ) -> None:
        """One node in the place of another one."""
        place = self._graph.nodes.index(old)
        old.inputs.clear()
        old.outputs.clear()
        self._graph.nodes[place] = self._node(op, inputs, outputs, attributes, domain=domain, name=old.name)

    def _node(self, op: str, inputs: list[Any], outputs: list[Any], attributes: Mapping[str, Any], **more: str) -> Any:
        told = {"domain": DOMAIN, **more}
        return self._surgeon.Node(op=op, attrs=dict(attributes), inputs=inputs, outputs=outputs, **told)


def _drop_manifest(model: ModelProto) -> None:
    """It tells of weights that aren't there under their names any more."""
    kept = [entry for entry in model.metadata_props if entry.key != MANIFEST_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


def _new_names(model: ModelProto) -> Iterator[str]:
    """Names for what is stored, which nothing in the model has, its subgraphs included."""
    taken = names_in_use(model)
    prefix = f"{DOMAIN}."
    while any(name.startswith(prefix) for name in taken):
        prefix += "_"
    return (f"{prefix}{number}" for number in range(1 << 30))
