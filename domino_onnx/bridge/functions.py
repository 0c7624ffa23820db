"""Model-local functions: finding the called one, and bounding what inlining them all would make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import onnx

from domino_onnx.bridge.opsets import canonical
from domino_onnx.errors import ModelError
from domino_onnx.graph.order import describe
from domino_onnx.graph.walk import subgraphs

__all__ = ["EXPANSION_LIMIT", "FunctionKey", "FunctionTable", "callee", "check_expansion", "functions_of"]

#: The most nodes that a model may have once its functions are inlined.
EXPANSION_LIMIT = 1_000_000
_NESTING_LIMIT = 100

FunctionKey = tuple[str, str, str]
FunctionTable = Mapping[FunctionKey, onnx.FunctionProto]


def functions_of(model: onnx.ModelProto) -> FunctionTable:
    """Return a model's functions by (domain, name, overload)."""
    return MappingProxyType({(canonical(f.domain), f.name, f.overload): f for f in model.functions})


def callee(node: onnx.NodeProto, functions: FunctionTable) -> onnx.FunctionProto | None:
    """Return the function that `node` calls, or None if it is an operator."""
    return functions.get((canonical(node.domain), node.op_type, node.overload)) if functions else None


def check_expansion(model: onnx.ModelProto) -> None:
    """Raise :class:`ModelError` if functions call themselves, nest too deeply or would make too many nodes.

    The size is added up per function, so that a bomb of nested calls is refused without being inlined.
    """
    functions = functions_of(model)
    sizes: dict[FunctionKey, int] = {}

    def size_of(nodes: Iterable[onnx.NodeProto], callers: tuple[FunctionKey, ...]) -> int:
        total = 0
        for node in nodes:
            function = callee(node, functions)
            total += 1 if function is None else size_of_function(node, function, callers)
            total += sum(size_of(graph.node, callers) for _, graph in subgraphs(node))
        return total

    def size_of_function(node: onnx.NodeProto, function: onnx.FunctionProto, callers: tuple[FunctionKey, ...]) -> int:
        key = (canonical(function.domain), function.name, function.overload)
        if key in callers:
            raise ModelError(f"{describe(node)} makes a cycle: the function calls itself")
        if len(callers) >= _NESTING_LIMIT:
            raise ModelError(f"{describe(node)} nests function calls deeper than {_NESTING_LIMIT}")
        if key not in sizes:
            sizes[key] = size_of(function.node, (*callers, key))
        return sizes[key]

    total = size_of(model.graph.node, ()) if functions else len(model.graph.node)
    if total > EXPANSION_LIMIT:
        raise ModelError(f"inlining the model's functions makes {total} nodes, the limit is {EXPANSION_LIMIT}")
