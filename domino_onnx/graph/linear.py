"""How does each consumer of a site use it: as which linear map between activations, with which bias?"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping

from onnx import NodeProto

from domino_onnx.graph.attributes import attributes
from domino_onnx.graph.index import GraphIndex, Use
from domino_onnx.graph.io.external import overlapping
from domino_onnx.graph.io.listed import replaceable_names
from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.graph.io.tensors import dtype_name
from domino_onnx.graph.operators import stored_view
from domino_onnx.graph.order import captured, constant_nodes, execution_order, stored_names
from domino_onnx.graph.values import Derived, Stored
from domino_onnx.graph.walk import normal_domain, tensors
from domino_onnx.scheme import Inventory, WeightKey

__all__ = ["Bias", "LinearUse", "linear_uses"]

_DATA_INPUT = {"Conv": 0, "ConvTranspose": 0}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bias:
    """A stored vector that is added to a consumer's outputs, one element each, and read by nothing else.

    `inside` tells whether the node itself adds it, or an Add behind it.
    """

    key: WeightKey
    shape: tuple[int, ...]
    dtype: str
    inside: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LinearUse:
    """One node of the main graph that multiplies an activation with a site's weight.

    Attributes
    ----------
    index
        The node's place in the order in which nodes run: its position, where the graph is sorted as ONNX asks.
    value_shape, axes
        The weight as the node sees it: axis `k` of it is axis ``axes[k]`` of the stored tensor.
    weight_input
        The input at which the node reads the weight.
    data, output
        Names of the activation that goes in, and of the one that comes out of the node.
    attributes
        Of the node, by name: integers, floats, lists of integers and strings.
    bias
        What a refit may use as an intercept; None if there is none, or if others read it.
    joined
        The other operand, where an Add is the only reader of the output (with its bias, and quantised or not): a
        residual connection.
    clipped
        Bounds that all readers of the output (with its bias, and joined) clip it to: (0, inf) for Relu, None where
        others read it.
    """

    index: int
    op: str
    value_shape: tuple[int, ...]
    axes: tuple[int, ...]
    weight_input: int
    data: str
    output: str
    attributes: Mapping[str, object]
    bias: Bias | None
    joined: str | None
    clipped: tuple[float, float] | None


def linear_uses(file: OnnxFile, inventory: Inventory) -> dict[WeightKey, tuple[LinearUse, ...]]:
    """The consumers of every site, in the order in which they run.

    Left out are sites that are read inside subgraphs or functions, and those that no input of the model reaches.
    """
    graph = _MainGraph(file)
    found: dict[WeightKey, list[LinearUse]] = {site.key: [] for site in inventory.sites}
    hidden: set[WeightKey] = set()
    for use in graph.index.uses():
        value = graph.index.value(use)
        if not isinstance(value, Stored) or value.key not in found or use.node is None:
            continue
        if use.scope is not graph.index.main or not graph.depends_on_data(use):
            hidden.add(value.key)
        else:
            found[value.key].append(graph.linear(use, use.node, value))
    return {
        key: tuple(sorted(uses, key=lambda use: use.index)) for key, uses in found.items() if uses and key not in hidden
    }


class _MainGraph:
    """Who reads which activation of the main graph, subgraphs included."""

    def __init__(self, file: OnnxFile) -> None:
        self.index = GraphIndex(file.proto)
        self._file = file
        self._nodes = file.proto.graph.node
        order = execution_order(self._nodes)
        self._place = {position: place for place, position in enumerate(order)}
        self._constant = constant_nodes([self._nodes[position] for position in order], stored_names(file.proto.graph))
        self._outputs = {value.name for value in file.proto.graph.output}
        self._replaceable = replaceable_names(file.proto)
        self._readers: dict[str, list[int]] = {}
        for position, node in enumerate(self._nodes):
            for name in (*node.input, *captured(node)):
                self._readers.setdefault(name, []).append(position)

    @functools.cached_property
    def _reads(self) -> Counter[WeightKey]:
        """How often each stored tensor is read, outputs of graphs included."""
        values = (self.index.value(use) for use in self.index.uses())
        return Counter(value.key for value in values if isinstance(value, Stored))

    @functools.cached_property
    def _overlapping(self) -> set[int]:
        return overlapping(tensors(self._file.proto), self._file.folder)

    def depends_on_data(self, use: Use) -> bool:
        """Whether any input of the model reaches the node."""
        return self._place[use.index] not in self._constant

    def linear(self, use: Use, node: NodeProto, value: Stored) -> LinearUse:
        """Describe one consumer of a site."""
        data = _DATA_INPUT.get(node.op_type, 1 - use.position)
        bias, behind_bias = self._bias_of(use, node, value)
        joined, behind_join = self._joined(behind_bias)
        return LinearUse(
            index=self._place[use.index],
            op=node.op_type,
            value_shape=value.shape,
            axes=value.axes,
            weight_input=use.position,
            data=node.input[data],
            output=node.output[0],
            attributes=attributes(node),
            bias=bias,
            joined=joined,
            clipped=self._clipped(behind_join),
        )

    def _bias_of(self, use: Use, node: NodeProto, value: Stored) -> tuple[Bias | None, str]:
        """The bias of a node, and the name of the activation behind it."""
        output = node.output[0]
        if len(node.input) > 2 and node.input[2] and attributes(node).get("beta", 1.0) == 1.0:
            return self._bias(use, node.input[2], value, inside=True), output
        added = self._only_add(output) if node.op_type == "MatMul" and use.position == 1 else None
        bias = None if added is None else self._bias(use, added[1], value, inside=False)
        return bias, output if added is None or bias is None else self._nodes[added[0]].output[0]

    def _joined(self, name: str) -> tuple[str | None, str]:
        """What an activation is only read to be added to, unless that is constant, and the name of the sum."""
        joining = self._only_add(self._requantised(name))
        other = None if joining is None else self.index.trace(self.index.main, joining[1])
        is_constant = other is not None and not (isinstance(other, Derived) and not other.is_fixed)
        if joining is None or is_constant:
            return None, name
        return joining[1], self._nodes[joining[0]].output[0]

    def _only_add(self, name: str) -> tuple[int, str] | None:
        """The Add that alone reads `name`, and its other operand."""
        readers = self._readers.get(name, [])
        if len(readers) != 1 or name in self._outputs:
            return None
        node = self._nodes[readers[0]]
        if node.op_type != "Add" or normal_domain(node.domain) or name not in node.input:
            return None
        return readers[0], node.input[1] if node.input[0] == name else node.input[0]

    def _requantised(self, name: str) -> str:
        """An activation behind its own fake quantisation, where that alone reads it."""
        behind = name
        for operator in ("QuantizeLinear", "DequantizeLinear"):
            readers = self._readers.get(behind, [])
            if len(readers) != 1 or behind in self._outputs:
                return name
            node = self._nodes[readers[0]]
            if node.op_type != operator or normal_domain(node.domain) or node.input[0] != behind:
                return name
            behind = node.output[0]
        return behind

    def _clipped(self, name: str) -> tuple[float, float] | None:
        """The one pair of bounds that everything which reads `name` clips it to."""
        if name in self._outputs:
            return None
        bounds = {self._bounds(self._nodes[reader], name) for reader in self._readers.get(name, [])}
        return bounds.pop() if len(bounds) == 1 else None

    def _bounds(self, node: NodeProto, name: str) -> tuple[float, float] | None:
        if normal_domain(node.domain) or node.op_type not in ("Relu", "Clip") or node.input[0] != name:
            return None
        if node.op_type == "Relu":
            return 0.0, math.inf
        low, high = (self._bound(node, position, default) for position, default in enumerate((-math.inf, math.inf)))
        return None if low is None or high is None else (low, high)

    def _bound(self, node: NodeProto, position: int, default: float) -> float | None:
        """A bound of Clip: an attribute before opset 11, a scalar input since; None for one that isn't constant."""
        given = attributes(node).get(("min", "max")[position])
        if isinstance(given, float):
            return given
        if len(node.input) <= position + 1 or not node.input[position + 1]:
            return default
        stored = self.index.trace(self.index.main, node.input[position + 1])
        return self._scalar(stored) if isinstance(stored, Stored) else None

    def _scalar(self, stored: Stored) -> float | None:
        """The value of a stored scalar that is no integer and that no caller of the model may replace."""
        if math.prod(stored.shape) != 1 or stored.key.name in self._replaceable or stored.scaling is not None:
            return None
        return float(self._file.array(stored.tensor).reshape(()))

    def _bias(self, use: Use, name: str, weight: Stored, *, inside: bool) -> Bias | None:
        """The stored vector behind `name`, if it has one element an output and nothing else reads it."""
        stored = self.index.trace(use.scope, name)
        if not isinstance(stored, Stored) or stored.key.scope or stored.key.name in self._replaceable:
            return None
        tensor = stored.tensor
        if tensor.data_type != weight.data_type or self._reads[stored.key] != 1:
            return None
        if id(tensor) in self._overlapping:
            return None
        shape = stored.shape
        is_vector = bool(shape) and math.prod(shape) == shape[-1] == _bias_length(use, weight)
        if not is_vector:
            return None
        return Bias(key=stored.key, shape=tuple(tensor.dims), dtype=dtype_name(tensor), inside=inside)


def _bias_length(use: Use, weight: Stored) -> int:
    """Length that a vector has if it is the bias of a use: its outputs; 0 where a vector can't be a bias."""
    view, shape = stored_view(use, weight), weight.shape
    if use.node is None or view is None:
        return 0
    if use.node.op_type in ("Conv", "ConvTranspose"):
        return view.outputs
    # The matrices of a stack have their own outputs each, but a vector is one for all of them.
    is_one_matrix = len(shape) > 1 and math.prod(shape[:-2]) == 1
    return view.outputs if use.position == 1 and is_one_matrix else 0
