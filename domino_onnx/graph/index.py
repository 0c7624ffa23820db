"""Which node reads which stored tensor, through transposes, casts and quantisation, subgraphs and functions?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from domino_onnx.graph.io.check import call_id, function_id, node_label
from domino_onnx.graph.io.listed import lists_constants
from domino_onnx.graph.reach import Reach, fed_by
from domino_onnx.graph.values import (
    Derived,
    Scope,
    Sparse,
    Stored,
    Transposes,
    before_transposes,
    dequantised,
    is_symmetric,
    stored_in,
    transposed,
)
from domino_onnx.graph.walk import constant_tensor, normal_domain, sparse_constants, subgraphs
from domino_onnx.scheme import WeightKey

__all__ = ["GraphIndex", "Use", "stored_tensors"]

_FOLLOWED = frozenset({"Identity", "Transpose", "Cast"})
_WITH_KERNELS = ("Conv", "ConvTranspose")
_FunctionId = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Use:
    """Input `position` of a node, or, where `node` is None, an output of the graph, subgraph or function."""

    scope: Scope
    index: int
    node: NodeProto | None
    position: int

    @property
    def label(self) -> str:
        """The node's name, after those of the subgraphs and calls that it is in."""
        name = "output" if self.node is None else node_label(self.node, self.index)
        return f"{self.scope.label}{name}"

    @property
    def name(self) -> str:
        """Of what is read, in its scope."""
        return self.scope.outputs[self.position] if self.node is None else self.node.input[self.position]


class GraphIndex:
    """All scopes of a model, and what each name in them means."""

    def __init__(self, model: ModelProto) -> None:
        self._functions = {function_id(function): function for function in model.functions}
        self.main = _graph_scope(model.graph, (), "", None)
        if lists_constants(model):
            self.main.inputs -= self.main.stored.keys()
        self.scopes: tuple[Scope, ...] = tuple(self._all_scopes(self.main))
        self._reach = Reach()

    def uses(self) -> Iterator[Use]:
        """Every read of a value by a node that isn't just passed through, and every output of a scope."""
        for scope in self.scopes:
            for index, node in enumerate(scope.nodes):
                if _is_followed(node) or call_id(node) in self._functions:
                    continue
                for position, name in enumerate(node.input):
                    if name and not (position == 0 and self._is_quantisation(scope, node)):
                        yield Use(scope, index, node, position)
            for position in range(len(scope.outputs)):
                yield Use(scope, len(scope.nodes), None, position)

    def value(self, use: Use) -> Stored | Sparse | Derived | None:
        """What a use reads: None if it isn't a constant."""
        return self.trace(use.scope, use.name)

    def weight(self, use: Use) -> Stored | Sparse | Derived | None:
        """The same, and for the kernel of a convolution what it mixes with activations."""
        value = self.value(use)
        if value is None and use.node is not None and use.node.op_type.endswith(_WITH_KERNELS) and use.position == 1:
            found = use.scope.locate(use.name)
            origins = self._reach.kernel(use.scope, use.name)
            if found is not None and found[1] in found[0].producers and origins:
                return Derived(found[0].nodes[found[0].producers[found[1]]].op_type, origins, is_fixed=False)
        return value

    def trace(self, scope: Scope, name: str) -> Stored | Sparse | Derived | None:
        """Follow a value back to what is stored.

        Through Identity, Transpose, Cast, a QuantizeLinear with a DequantizeLinear behind it that keep zeros zeros, and
        a DequantizeLinear of stored integers. Behind anything else it is `Derived`.
        """
        return self._traced(scope, name, [])

    def quantisers(self, use: Use) -> list[TensorProto]:
        """The stored scales and zero points between a use and the tensor that `trace` finds, from the use backwards."""
        passed: list[tuple[Scope, NodeProto]] = []
        if not isinstance(self._traced(use.scope, use.name, passed), Stored):
            return []
        read = (self.trace(scope, name) for scope, node in passed for name in node.input[1:3] if name)
        return [value.tensor for value in read if isinstance(value, Stored)]

    def _traced(
        self, scope: Scope, name: str, passed: list[tuple[Scope, NodeProto]]
    ) -> Stored | Sparse | Derived | None:
        """As `trace`; each QuantizeLinear and DequantizeLinear on the way is appended to `passed`."""
        transposes: Transposes = []
        found = before_transposes(scope, name, transposes)
        while found is not None:
            scope, name = found
            if name in scope.stored:
                return transposed(transposes, stored_in(scope, name))
            if name in scope.sparse:
                return Sparse(WeightKey(name, scope.path), scope.sparse[name])
            if name not in scope.producers:
                return self._derived(scope, name)
            node = scope.nodes[scope.producers[name]]
            quantise = self._undone_by(scope, node)
            if quantise is None and not _is_followed(node):
                integers = dequantised(scope, node)
                if integers is None:
                    return self._derived(scope, name)
                passed.append((scope, node))
                return transposed(transposes, integers)
            if quantise is not None:
                passed += [(scope, node), (scope, quantise)]
            source = quantise or node
            found = before_transposes(scope, source.input[0], transposes) if source.input else None
        return None

    def stored_tensors(self) -> dict[WeightKey, TensorProto]:
        """Every initializer and Constant tensor by scope and name."""
        return {WeightKey(name, scope.path): tensor for scope in self.scopes for name, tensor in scope.stored.items()}

    def _is_quantisation(self, scope: Scope, node: NodeProto) -> bool:
        """Whether a node is half of the fake quantisation of a stored tensor, or makes floats of stored integers."""
        if dequantised(scope, node) is not None:
            return True
        quantise = node if is_symmetric(scope, node, "QuantizeLinear") else self._undone_by(scope, node)
        return quantise is not None and isinstance(self.trace(scope, quantise.input[0]), Stored)

    def _undone_by(self, scope: Scope, node: NodeProto) -> NodeProto | None:
        """The QuantizeLinear that a DequantizeLinear undoes, if both keep zeros zeros."""
        if not is_symmetric(scope, node, "DequantizeLinear") or node.input[0] not in scope.producers:
            return None
        quantise = scope.nodes[scope.producers[node.input[0]]]
        return quantise if is_symmetric(scope, quantise, "QuantizeLinear") else None

    def _derived(self, scope: Scope, name: str) -> Derived | None:
        """What a name is where it isn't followed further; None for activations and constants of no tensor."""
        reached = self._reach.of(scope, name)
        if reached is None or not reached.origins:
            return None
        feed = scope.fed.get(name)
        operator = feed.operator if feed is not None else scope.nodes[scope.producers[name]].op_type
        return Derived(operator, reached.origins, reached.is_fixed, reached.scores)

    def _all_scopes(self, scope: Scope) -> Iterator[Scope]:
        yield scope
        for index, node in enumerate(scope.nodes):
            inner = []
            for attribute, graph in subgraphs(node):
                label = f"{scope.label}{node_label(node, index)}.{attribute}/"
                inner.append(_graph_scope(graph, (*scope.path, f"{index}.{attribute}"), label, scope))
                inner[-1].fed = fed_by(node, graph, scope)
            function = self._functions.get(call_id(node))
            if function is not None:
                inner.append(_call_scope(function, node, index, scope))
            if inner:
                scope.inner[index] = inner
            for each in inner:
                yield from self._all_scopes(each)


def stored_tensors(model: ModelProto) -> dict[WeightKey, TensorProto]:
    """Every initializer and Constant tensor by scope and name: the model's own, to be edited in place."""
    return GraphIndex(model).stored_tensors()


def _graph_scope(graph: GraphProto, path: tuple[str, ...], label: str, parent: Scope | None) -> Scope:
    scope = _body(graph.node, path, label, parent)
    scope.nested = parent is not None
    scope.outputs = tuple(value.name for value in graph.output)
    scope.inputs = frozenset(value.name for value in graph.input)
    scope.stored.update((tensor.name, tensor) for tensor in graph.initializer)
    scope.sparse.update((tensor.values.name, tensor) for tensor in graph.sparse_initializer)
    return scope


def _call_scope(function: FunctionProto, node: NodeProto, index: int, caller: Scope) -> Scope:
    """The body of a function as one call runs it. Its constants are stored once, for all calls."""
    domain, name, overload = function_id(function)
    label = f"{caller.label}{node_label(node, index)}/"
    scope = _body(function.node, (f"function {domain}:{name}:{overload}",), label, None)
    scope.nested = caller.nested
    scope.outputs = tuple(function.output)
    scope.bindings = {formal: (caller, actual) for formal, actual in zip(function.input, node.input, strict=False)}
    return scope


def _body(nodes: Sequence[NodeProto], path: tuple[str, ...], label: str, parent: Scope | None) -> Scope:
    stored: dict[str, TensorProto] = {}
    sparse: dict[str, SparseTensorProto] = {}
    producers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        producers.update((name, index) for name in node.output if name)
        if node.op_type == "Constant" and node.output:
            tensor = constant_tensor(node)
            if tensor is not None:
                stored[node.output[0]] = tensor
            sparse.update((node.output[0], value) for value in sparse_constants(node))
    return Scope(
        path=path,
        label=label,
        nodes=nodes,
        outputs=(),
        inputs=frozenset(),
        stored=stored,
        sparse=sparse,
        producers=producers,
        parent=parent,
    )


def _is_followed(node: NodeProto) -> bool:
    return node.op_type in _FOLLOWED and not normal_domain(node.domain)
