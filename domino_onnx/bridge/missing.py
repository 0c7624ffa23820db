"""Which operators of a model have no torch counterpart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx

from domino_onnx.bridge.functions import FunctionKey, callee, functions_of
from domino_onnx.bridge.ops import OPERATORS
from domino_onnx.bridge.opsets import canonical, imports, opset_of
from domino_onnx.bridge.registry import find, objection
from domino_onnx.graph.walk import subgraphs

__all__ = ["LATEST_OPSET", "label", "missing_operators"]

#: The newest opset of the standard domain whose operators were checked.
LATEST_OPSET = 28


def missing_operators(model: onnx.ModelProto) -> tuple[str, ...]:
    """Return every operator that the bridge can't evaluate, sorted; empty if the model can be built.

    Each is written `Name-opset`, or `Domain::Name-opset` outside the standard domain, followed by the
    attribute or the output in parentheses where only that is not covered. Subgraphs and the functions that
    the model calls are searched too; nothing is loaded or evaluated.
    """
    functions = functions_of(model)
    called: set[FunctionKey] = set()
    pending: list[tuple[Sequence[onnx.NodeProto], Mapping[str, int]]] = [(model.graph.node, imports(model))]
    found: set[str] = set()
    while pending:
        nodes, opsets = pending.pop()
        for node in _with_subgraphs(nodes):
            function = callee(node, functions)
            if function is None:
                found.update(_objections(node, opset_of(node, opsets)))
            elif (key := (function.domain, function.name, function.overload)) not in called:
                called.add(key)
                pending.append((function.node, {**opsets, **imports(function)}))
    return tuple(sorted(found))


def label(node: onnx.NodeProto, opset: int) -> str:
    """Return an operator's name as reports write it: `Name-opset` or `Domain::Name-opset`."""
    domain = canonical(node.domain)
    return f"{domain}::{node.op_type}-{opset}" if domain else f"{node.op_type}-{opset}"


def _with_subgraphs(nodes: Sequence[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for _, graph in subgraphs(node):
            yield from _with_subgraphs(graph.node)


def _objections(node: onnx.NodeProto, opset: int) -> Iterator[str]:
    domain = canonical(node.domain)
    operator = find(OPERATORS, domain, node.op_type, opset)
    if operator is None or (domain == "" and _changed_since_latest(node.op_type, opset)):
        yield label(node, opset)
    elif reason := objection(operator, node):
        yield f"{label(node, opset)} ({reason})"


def _changed_since_latest(name: str, opset: int) -> bool:
    if opset <= LATEST_OPSET:
        return False
    newest = min(opset, onnx.defs.onnx_opset_version())
    return not onnx.defs.has(name) or onnx.defs.get_schema(name, newest).since_version > LATEST_OPSET
