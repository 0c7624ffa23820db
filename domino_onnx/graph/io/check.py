"""Can a model be a valid one? Cheap, in pure Python, safe on hostile files.

The ONNX checker can't be the gate: it refuses thousands of models that ONNX Runtime runs, accepts some that it does
not, and the shape inference with it can crash the process.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

from domino_onnx.errors import ModelError
from domino_onnx.graph.io.external import is_external
from domino_onnx.graph.order import execution_order
from domino_onnx.graph.walk import normal_domain, subgraphs, tensors
from domino_onnx.plurals import quantity

__all__ = ["MAX_INLINED_NODES", "check_structure", "node_label"]

MAX_INLINED_NODES = 200_000
"""Nodes that the model may have once its local functions are inlined; the worst bombs reach 2^27."""
MAX_DIMS = 64


def check_structure(model: ModelProto) -> None:
    """Raise ModelError, saying what and where, if the model can't be a valid one."""
    _check_versions(model)
    for tensor in tensors(model):
        _check_tensor(tensor)
    _check_functions(model)
    if not model.graph.output:
        raise ModelError("the graph has no outputs")
    _check_graph(model.graph, frozenset())


def node_label(node: NodeProto, index: int) -> str:
    """A node's name, or its operator and position where it has none (names are optional in ONNX)."""
    return node.name or f"{node.op_type}_{index}"


def _check_versions(model: ModelProto) -> None:
    if not 1 <= model.ir_version <= onnx.IR_VERSION:
        raise ModelError(
            f"IR version {model.ir_version} is unknown: the installed onnx {onnx.__version__} reads 1 to "
            f"{onnx.IR_VERSION}; a newer onnx package may read it"
        )
    versions = [opset.version for opset in model.opset_import if not normal_domain(opset.domain)]
    if not model.opset_import:
        raise ModelError("the model imports no operator set (opset_import is empty)")
    if len(versions) > 1:
        raise ModelError(
            f"the model imports the standard operator set {quantity(len(versions), 'time')} (versions {versions})"
        )
    newest = onnx.defs.onnx_opset_version()
    if versions and not 1 <= versions[0] <= newest:
        raise ModelError(f"opset {versions[0]} is unknown: the installed onnx {onnx.__version__} knows 1 to {newest}")


def _check_tensor(tensor: TensorProto) -> None:
    where = f"tensor {tensor.name!r}"
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise ModelError(f"{where} has the unknown data type {tensor.data_type}")
    if len(tensor.dims) > MAX_DIMS or any(size < 0 for size in tensor.dims):
        raise ModelError(
            f"{where} has an impossible shape: {tuple(tensor.dims[:8])} ({quantity(len(tensor.dims), 'axis', 'axes')})"
        )
    elements = math.prod(tensor.dims)
    if not elements and any(size >= 2**31 for size in tensor.dims):
        raise ModelError(f"{where} has an impossible shape: {tuple(tensor.dims)}")
    # The smallest element types take a quarter of a byte; nothing is allocated on the word of a declared shape.
    if not is_external(tensor) and elements > 4 * max(tensor.ByteSize(), 1):
        raise ModelError(
            f"{where} declares {quantity(elements, 'element')} but the file holds "
            f"{quantity(tensor.ByteSize(), 'byte')} of it"
        )


def _check_graph(graph: GraphProto, outer: frozenset[str]) -> None:
    """Names: each defined once, each used name defined, no cycle; subgraphs see the names around them."""
    visible = frozenset(outer | _names_defined(graph))
    for index, node in enumerate(graph.node):
        for name in node.input:
            if name and name not in visible:
                raise ModelError(f"node {node_label(node, index)!r} reads {name!r}, which nothing produces")
    for value in graph.output:
        if value.name not in visible:
            raise ModelError(f"the graph output {value.name!r} is produced by no node")
    execution_order(graph.node)
    for node in graph.node:
        for _, subgraph in subgraphs(node):
            _check_graph(subgraph, visible)


def _names_defined(graph: GraphProto) -> set[str]:
    """Names of inputs, initializers and outputs of nodes; ModelError if one is defined twice."""
    given = _unique((value.name for value in graph.input), "graph input")
    stored = _unique((tensor.name for tensor in graph.initializer), "initializer")
    stored |= _unique((sparse.values.name for sparse in graph.sparse_initializer), "sparse initializer")
    if "" in stored:
        raise ModelError("an initializer has no name")
    known = given | stored
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in known:
                raise ModelError(f"{name!r} is defined twice: node {node_label(node, index)!r} produces it again")
            known.add(name)
    return known


def _unique(names: Iterable[str], what: str) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ModelError(f"two {what}s are named {name!r}")
        seen.add(name)
    return seen


def _check_functions(model: ModelProto) -> None:
    """No function shadows a standard operator, calls itself, or multiplies beyond reason."""
    functions = {function_id(function): function for function in model.functions}
    for domain, name, _ in functions:
        if not domain and onnx.defs.has(name):
            raise ModelError(f"the model defines a local function named like the standard operator {name!r}")
    sizes: dict[tuple[str, str, str], int] = {}
    for key in functions:
        _inlined_size(key, functions, sizes, ())
    total = sum(_call_size(node, sizes) for node in model.graph.node)
    if total > MAX_INLINED_NODES:
        raise ModelError(f"the model's local functions expand to {total} nodes; at most {MAX_INLINED_NODES} are read")


def function_id(function: FunctionProto) -> tuple[str, str, str]:
    return normal_domain(function.domain), function.name, getattr(function, "overload", "")


def call_id(node: NodeProto) -> tuple[str, str, str]:
    return normal_domain(node.domain), node.op_type, getattr(node, "overload", "")


def _inlined_size(
    key: tuple[str, str, str],
    functions: dict[tuple[str, str, str], FunctionProto],
    sizes: dict[tuple[str, str, str], int],
    callers: tuple[tuple[str, str, str], ...],
) -> int:
    if key in callers or len(callers) > MAX_DIMS:
        raise ModelError(f"the local function {key[1]!r} calls itself, or functions nest deeper than {MAX_DIMS}")
    if key not in sizes:
        for node in functions[key].node:
            for called in filter(functions.__contains__, _calls(node)):
                _inlined_size(called, functions, sizes, (*callers, key))
        sizes[key] = sum(_call_size(node, sizes) for node in functions[key].node)
    return sizes[key]


def _calls(node: NodeProto) -> Iterable[tuple[str, str, str]]:
    yield call_id(node)
    for _, graph in subgraphs(node):
        for inner in graph.node:
            yield from _calls(inner)


def _call_size(node: NodeProto, sizes: dict[tuple[str, str, str], int]) -> int:
    inner = sum(_call_size(child, sizes) for _, graph in subgraphs(node) for child in graph.node)
    return 1 + inner + sizes.get(call_id(node), 0)
