"""From a ModelProto to a program: names become slots, functions are inlined, constant nodes are evaluated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import onnx
import torch

from domino_onnx.bridge.functions import callee, check_expansion, functions_of
from domino_onnx.bridge.missing import label, missing_operators
from domino_onnx.bridge.ops import OPERATORS
from domino_onnx.bridge.opsets import canonical, imports, opset_of
from domino_onnx.bridge.program import ABSENT, Block, Program, Step, Values, run, schedule
from domino_onnx.bridge.registry import Operator, find
from domino_onnx.bridge.straight_through import with_straight_through
from domino_onnx.bridge.values import Load, dense_tensor, is_weight, tensor_of
from domino_onnx.errors import ModelError, UnsupportedOperatorError
from domino_onnx.graph.order import describe, execution_order
from domino_onnx.scheme.key import WeightKey

__all__ = ["compile_model"]


@dataclasses.dataclass(slots=True, kw_only=True)
class _Scope:
    """The names that a node can see: those of its own graph, then those of the graphs around it."""

    path: tuple[str, ...] = ()
    opsets: Mapping[str, int]
    arguments: Mapping[str, onnx.AttributeProto] = dataclasses.field(default_factory=dict)
    outer: _Scope | None = None
    slots: dict[str, int] = dataclasses.field(default_factory=lambda: {"": ABSENT})

    def find(self, name: str) -> int | None:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.slots:
                return scope.slots[name]
            scope = scope.outer
        return None


def compile_model(model: onnx.ModelProto, load: Load) -> tuple[Program, Values]:
    """Compile a model; the second value holds the tensors of its weights and constants by slot.

    Raises
    ------
    UnsupportedOperatorError
        With all operators that have no torch counterpart.
    ModelError
        For a tensor that nothing makes or two nodes make, a cycle, or constants that don't fit their
        operator.
    """
    missing = missing_operators(model)
    if missing:
        raise UnsupportedOperatorError(missing)
    check_expansion(model)
    return _Compiler(model, load).compile()


class _Compiler:
    def __init__(self, model: onnx.ModelProto, load: Load) -> None:
        self.model = model
        self.load = load
        self.functions = functions_of(model)
        self.weights: dict[WeightKey, int] = {}
        self.tensors: Values = {}
        self.trainable: set[int] = set()
        self.last_slot = ABSENT

    def compile(self) -> tuple[Program, Values]:
        graph = self.model.graph
        scope = _Scope(opsets=imports(self.model))
        self._declare_initializers(graph, scope)
        inputs = self._declare_inputs(graph, scope)
        steps = tuple(with_straight_through(self._fold(self._steps(graph.node, scope))))
        program = Program(
            steps=steps,
            names={name: slot for name, slot in scope.slots.items() if name},
            inputs=inputs,
            outputs={output.name: self._made(output.name, scope, "graph output") for output in graph.output},
            weights=self.weights,
            constants=frozenset(self.tensors) - self.trainable,
        )
        return program, self.tensors

    def _new_slot(self) -> int:
        self.last_slot += 1
        return self.last_slot

    def _made(self, name: str, scope: _Scope, reader: str) -> int:
        slot = scope.find(name)
        if slot is None:
            raise ModelError(f"{reader} reads {name!r}, which no node, input or initializer makes")
        return slot

    def _declare_inputs(self, graph: onnx.GraphProto, scope: _Scope) -> dict[str, int]:
        inputs = {value.name: self._new_slot() for value in graph.input if value.name not in scope.slots}
        scope.slots.update(inputs)
        return inputs

    def _declare_initializers(self, graph: onnx.GraphProto, scope: _Scope) -> None:
        for dense in graph.initializer:
            self._declare(dense.name, tensor_of(dense, self.load), scope)
        for sparse in graph.sparse_initializer:
            self._declare(sparse.values.name, dense_tensor(sparse, self.load), scope)

    def _declare(self, name: str, tensor: torch.Tensor, scope: _Scope, *, trainable: bool = True) -> None:
        """Give a stored tensor its slot; a function inlined twice has its weights once."""
        key = WeightKey(name, scope.path)
        replaceable = trainable and is_weight(tensor)
        slot = self.weights[key] if replaceable and key in self.weights else self._new_slot()
        scope.slots[name] = slot
        self.tensors[slot] = tensor
        if replaceable:
            self.weights[key] = slot
            self.trainable.add(slot)

    def _steps(self, nodes: Sequence[onnx.NodeProto], scope: _Scope) -> Iterator[Step]:
        """Compile nodes in the order of evaluation; a constant becomes a tensor, a call its body's steps."""
        for position in execution_order(nodes):
            node = nodes[position]
            function = callee(node, self.functions)
            if function is not None:
                yield from self._inlined(node, function, scope)
            elif node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                self._declare_constant(node, scope)
            else:
                yield self._step(position, node, scope)

    def _step(self, position: int, node: onnx.NodeProto, scope: _Scope) -> Step:
        operator = self._operator(node, scope)
        inputs = tuple(self._made(name, scope, describe(node)) for name in node.input)
        attributes: dict[str, object] = {}
        blocks: dict[str, Block] = {}
        for attribute in self._attributes(node, scope):
            if attribute.type == onnx.AttributeProto.GRAPH:
                blocks[attribute.name] = self._block(attribute.g, f"{position}.{attribute.name}", scope)
            elif attribute.name in operator.attributes:
                attributes[attribute.name] = self._attribute_value(attribute)
        if "output_count" in operator.attributes:
            attributes["output_count"] = len(node.output)
        outputs = tuple(self._new_slot() if name else ABSENT for name in node.output)
        scope.slots.update((name, slot) for name, slot in zip(node.output, outputs, strict=True) if name)
        return Step(
            label=describe(node),
            operator=operator,
            inputs=inputs,
            outputs=outputs,
            attributes=attributes,
            blocks=blocks,
        )

    def _operator(self, node: onnx.NodeProto, scope: _Scope) -> Operator:
        opset = opset_of(node, scope.opsets)
        operator = find(OPERATORS, canonical(node.domain), node.op_type, opset)
        if operator is None:
            raise UnsupportedOperatorError([label(node, opset)])
        return operator

    def _attributes(self, node: onnx.NodeProto, scope: _Scope) -> Iterator[onnx.AttributeProto]:
        """Yield a node's attributes; a reference becomes the argument of the function call, or nothing."""
        for attribute in node.attribute:
            if not attribute.ref_attr_name:
                yield attribute
            elif attribute.ref_attr_name in scope.arguments:
                argument = onnx.AttributeProto()
                argument.CopyFrom(scope.arguments[attribute.ref_attr_name])
                argument.name = attribute.name
                yield argument

    def _attribute_value(self, attribute: onnx.AttributeProto) -> object:
        match attribute.type:
            case onnx.AttributeProto.TENSOR:
                return tensor_of(attribute.t, self.load)
            case onnx.AttributeProto.SPARSE_TENSOR:
                return dense_tensor(attribute.sparse_tensor, self.load)
            case onnx.AttributeProto.STRING:
                return attribute.s.decode()
            case onnx.AttributeProto.STRINGS:
                return tuple(text.decode() for text in attribute.strings)
            case onnx.AttributeProto.INTS | onnx.AttributeProto.FLOATS:
                return tuple(onnx.helper.get_attribute_value(attribute))
            case _:
                return onnx.helper.get_attribute_value(attribute)

    def _declare_constant(self, node: onnx.NodeProto, scope: _Scope) -> None:
        """Evaluate a Constant; what it takes from a function's argument differs by call, so is no weight."""
        attributes = {a.name: self._attribute_value(a) for a in self._attributes(node, scope)}
        try:
            tensor = self._operator(node, scope).function(**attributes)
        except (RuntimeError, TypeError) as error:
            raise ModelError(f"{describe(node)} has no value") from error
        if isinstance(tensor, torch.Tensor):
            by_call = any(attribute.ref_attr_name for attribute in node.attribute)
            self._declare(node.output[0], tensor, scope, trainable=not by_call)

    def _block(self, graph: onnx.GraphProto, path: str, outer: _Scope) -> Block:
        scope = _Scope(path=(*outer.path, path), opsets=outer.opsets, arguments=outer.arguments, outer=outer)
        self._declare_initializers(graph, scope)
        inputs = tuple(self._declare_inputs(graph, scope).values())
        steps = tuple(with_straight_through(self._steps(graph.node, scope)))
        outputs = tuple(self._made(value.name, scope, f"subgraph {graph.name!r}") for value in graph.output)
        own = frozenset(inputs).union(*(step.outputs for step in steps)) - {ABSENT}
        read = set(outputs).union(*(step.reads for step in steps))
        return Block(
            inputs=inputs,
            outputs=outputs,
            turns=schedule(steps, outputs, own=inputs),
            captured=frozenset(read - own),
            own=own,
        )

    def _inlined(self, node: onnx.NodeProto, function: onnx.FunctionProto, caller: _Scope) -> Iterator[Step]:
        """Compile a function's body in a scope of its own, its formal names bound to the caller's slots."""
        arguments = {a.name: a for a in function.attribute_proto}
        arguments.update((a.name, a) for a in self._attributes(node, caller))
        scope = _Scope(
            path=(f"function {function.domain}:{function.name}:{function.overload}",),
            opsets={**caller.opsets, **imports(function)},
            arguments=arguments,
        )
        actual = [self._made(name, caller, describe(node)) for name in node.input]
        actual += [ABSENT] * (len(function.input) - len(actual))
        scope.slots.update(zip(function.input, actual, strict=False))
        yield from self._steps(function.node, scope)
        for formal, name in zip(function.output, node.output, strict=False):
            if name:
                caller.slots[name] = self._made(formal, scope, describe(node))

    def _fold(self, steps: Iterator[Step]) -> tuple[Step, ...]:
        """Evaluate the steps that depend on nothing but constants, and return the others."""
        left: list[Step] = []
        for step in steps:
            is_constant = all(slot in self.tensors and slot not in self.trainable for slot in step.reads)
            if step.blocks or not is_constant:
                left.append(step)
                continue
            values = {slot: self.tensors[slot] for slot in step.reads}
            with torch.no_grad():
                run(schedule([step], step.outputs), values)
            self.tensors.update((slot, values[slot]) for slot in step.outputs if slot)
        return tuple(left)
