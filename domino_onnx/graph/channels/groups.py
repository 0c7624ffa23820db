"""Which channels of a model may be permuted without changing what it computes, and the stored tensors that hold them.

After Pool and Yu, "Channel Permutations for N:M Sparsity" (NeurIPS 2021), on any ONNX graph: instead of patterns of
layers, links between axes (`axes`) that each operator contributes (`rules`). What isn't understood is frozen, and so
is everything that reaches a graph input or output, a subgraph or a function.
"""

from __future__ import annotations

import dataclasses
import math
import posixpath
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from domino_onnx.graph.channels.axes import Axis, AxisLinks, FreeChannels, Places
from domino_onnx.graph.channels.rules import apply_rule, is_plain_conv
from domino_onnx.graph.index import GraphIndex
from domino_onnx.graph.io.external import is_external
from domino_onnx.graph.shapes import Shape, ShapeTable, infer_shapes
from domino_onnx.graph.values import Stored
from domino_onnx.graph.walk import constant_tensor, normal_domain, tensors
from domino_onnx.scheme import WeightKey, WeightLayout

__all__ = ["ChannelGroup", "ChannelMember", "channel_groups", "settled_shapes"]

_OVERRIDABLE_SINCE_IR = 4
_SMALL = 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelMember:
    """An axis of a stored tensor, and where the channels of a group stand on it.

    Attributes
    ----------
    role
        ``"consumer"`` if the axis is the reduction axis of a Conv, ConvTranspose, Gemm or MatMul weight, on which N:M
        groups lie; ``"producer"`` for what only has to follow: output channels, biases, scales, depthwise filters.
    places
        (size of the group, copies): channel `k` stands at ``places[k]`` of the axis. There are several copies where
        a map was flattened, C x H x W, into a Gemm.
    """

    key: WeightKey
    axis: int
    role: Literal["producer", "consumer"]
    places: Places


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelGroup:
    """`size` channels that may be permuted among themselves, if that is done in all of `members` alike."""

    size: int
    members: tuple[ChannelMember, ...]

    @property
    def consumers(self) -> tuple[ChannelMember, ...]:
        """The members whose N:M groups a permutation changes."""
        return tuple(member for member in self.members if member.role == "consumer")


def channel_groups(model: ModelProto, shapes: ShapeTable | None = None) -> tuple[ChannelGroup, ...]:
    """Groups of channels of the main graph that hold the reduction axis of at least one weight.

    Parameters
    ----------
    model
        Checked (`read_model`); values of large tensors aren't read.
    shapes
        As `settled_shapes` gives them, which is asked if they are left out: an axis whose size may be another at run
        time must be None in it.

    Returns
    -------
    In an order that depends on the model alone. Members of different groups never share a place.
    """
    return _MainGraph(model, settled_shapes(model) if shapes is None else shapes).groups()


def settled_shapes(model: ModelProto) -> ShapeTable:
    """Inferred shapes, with None for every axis whose size changes if an open first axis of an input does.

    `infer_shapes` takes such an axis to be 1, and a 1 would look like something that broadcasts.
    """
    table = infer_shapes(model)
    other = infer_shapes(_with_batch(model, 2))
    return {key: _agreed(shape, other[key]) for key, shape in table.items() if len(other.get(key, ())) == len(shape)}


def _agreed(first: Shape, second: Shape) -> Shape:
    return tuple(size if size == other else None for size, other in zip(first, second, strict=True))


def _with_batch(model: ModelProto, size: int) -> ModelProto:
    """The model as shape inference needs it, with open first axes of its inputs set to `size`."""
    graph = GraphProto(name=model.graph.name)
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.initializer.extend(_outline(tensor) for tensor in model.graph.initializer)
    for value in model.graph.output:  # their declared shapes may name the first batch
        graph.output.add(name=value.name).type.tensor_type.elem_type = value.type.tensor_type.elem_type
    for value in graph.input:
        axes = value.type.tensor_type.shape.dim
        if axes and axes[0].dim_value < 1:
            axes[0].dim_value = size
    resized = ModelProto(ir_version=model.ir_version, graph=graph, functions=model.functions)
    resized.opset_import.extend(model.opset_import)
    return resized


def _outline(tensor: TensorProto) -> TensorProto:
    if is_external(tensor) or tensor.ByteSize() > _SMALL:
        return TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    return tensor


class _MainGraph:
    """The axes of the main graph, linked by its nodes and frozen where they leave it."""

    def __init__(self, model: ModelProto, shapes: ShapeTable) -> None:
        self._model = model
        self._index = GraphIndex(model)
        self._inputs = self._given_names()
        self._shapes = {name: shape for (scope, name), shape in shapes.items() if not scope}
        stored = self._index.main.stored
        self._shapes.update((name, tuple(tensor.dims)) for name, tensor in stored.items())
        axes = {(name, axis): size for name, shape in self._shapes.items() for axis, size in enumerate(shape)}
        self._links = AxisLinks(axes)

    def groups(self) -> tuple[ChannelGroup, ...]:
        """All groups with a consumer."""
        for node in self._model.graph.node:
            if constant_tensor(node) is None:
                apply_rule(node, self._shapes, self._links, self._constant, self._opset)
        for name in self._fixed_names():
            for axis in range(len(self._shapes.get(name, ()))):
                self._links.freeze((name, axis))
        reductions = self._reductions()
        stored = [(name, axis) for name in self._index.main.stored for axis in range(len(self._shapes[name]))]
        groups = (_group(found, reductions) for found in self._links.free(stored))
        return tuple(group for group in groups if group.consumers)

    @property
    def _opset(self) -> int:
        versions = [opset.version for opset in self._model.opset_import if not normal_domain(opset.domain)]
        return max(versions, default=1)

    def _given_names(self) -> frozenset[str]:
        """Inputs of the graph. Before IR version 4 all initializers are listed there, and can't be overridden."""
        names = {value.name for value in self._model.graph.input}
        if self._model.ir_version < _OVERRIDABLE_SINCE_IR:
            names -= self._index.main.stored.keys()
        return frozenset(names)

    def _fixed_names(self) -> Iterator[str]:
        """Tensors that others than the nodes of the main graph give, read, or lay out."""
        graph = self._model.graph
        yield from self._inputs
        yield from (value.name for value in graph.output)
        yield from (sparse.values.name for sparse in graph.sparse_initializer)
        for annotation in graph.quantization_annotation:
            yield annotation.tensor_name
            yield from (entry.value for entry in annotation.quant_parameter_tensor_names)
        yield from self._read_inside()
        yield from _sharing_bytes(self._model)

    def _read_inside(self) -> Iterator[str]:
        """Names of the main graph that subgraphs and functions read."""
        main = self._index.main
        for scope in self._index.scopes:
            if scope is not main:
                for name in (*scope.outputs, *(name for node in scope.nodes for name in node.input)):
                    found = scope.locate(name)
                    if found is not None and found[0] is main:
                        yield found[1]

    def _constant(self, name: str) -> NDArray[np.generic] | None:
        """A small tensor's values, if nothing can replace them."""
        tensor = self._index.main.stored.get(name)
        if tensor is not None:
            readable = not is_external(tensor) and tensor.ByteSize() <= _SMALL and name not in self._inputs
            return numpy_helper.to_array(tensor) if readable else None
        position = self._index.main.producers.get(name)
        return None if position is None else _constant_list(self._model.graph.node[position])

    def _reductions(self) -> set[Axis]:
        """The axes of stored tensors that Conv, ConvTranspose, Gemm and MatMul sum over."""
        found: set[Axis] = set()
        for node in self._model.graph.node:
            for position in _weight_inputs(node):
                value = self._index.trace(self._index.main, node.input[position])
                if isinstance(value, Stored) and not value.key.scope:
                    layout = _layout(node, position, value.shape)
                    if layout is not None:
                        found.add((value.key.name, value.axes[layout.axis]))
        return found


def _group(found: FreeChannels, reductions: set[Axis]) -> ChannelGroup:
    members = tuple(
        ChannelMember(
            key=WeightKey(name),
            axis=axis,
            role="consumer" if (name, axis) in reductions else "producer",
            places=places,
        )
        for (name, axis), places in found.places.items()
    )
    return ChannelGroup(size=found.size, members=members)


def _constant_list(node: NodeProto) -> NDArray[np.generic] | None:
    """The values of a Constant node that lists them in an attribute."""
    if node.op_type == "Constant" and not normal_domain(node.domain):
        for attribute in node.attribute:
            if attribute.name == "value_ints":
                return np.array(attribute.ints, np.int64)
            if attribute.name == "value_floats":
                return np.array(attribute.floats, np.float32)
    return None


def _weight_inputs(node: NodeProto) -> tuple[int, ...]:
    if normal_domain(node.domain) or len(node.input) < 2:
        return ()
    if node.op_type in ("Conv", "ConvTranspose"):
        return (1,) if is_plain_conv(node) else ()
    return (0, 1) if node.op_type in ("Gemm", "MatMul") else ()


def _layout(node: NodeProto, position: int, shape: tuple[int, ...]) -> WeightLayout | None:
    if node.op_type == "MatMul":
        return WeightLayout.matrix(shape, left=position == 0) if shape else None
    if node.op_type == "Gemm":
        name = "transB" if position else "transA"
        transposed = any(attribute.name == name and attribute.i for attribute in node.attribute)
        return WeightLayout.matrix(shape, left=position == 0, transposed=transposed) if len(shape) == 2 else None
    if len(shape) < 3:
        return None
    return WeightLayout.conv(shape) if node.op_type == "Conv" else WeightLayout.conv_transpose(shape, 1)


def _sharing_bytes(model: ModelProto) -> Iterator[str]:
    """External tensors whose bytes others read too, as far as their entries tell."""
    furthest: dict[str, tuple[float, str]] = {}
    for path, start, end, name in sorted(_extent(tensor) for tensor in filter(is_external, tensors(model))):
        reached, by = furthest.get(path, (0.0, ""))
        if start < reached:
            yield from (by, name)
        if end >= reached:
            furthest[path] = (end, name)


def _extent(tensor: TensorProto) -> tuple[str, float, float, str]:
    """File, first byte and end of an external tensor; one without a length reaches to the end of the file."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    start = float(entries.get("offset") or 0)
    length = entries.get("length")
    return posixpath.normpath(entries.get("location", "")), start, start + float(length or math.inf), tensor.name
