"""onnx-graphsurgeon, and what it would lose: only nodes and initializers are taken from what it exports."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from domino_onnx.errors import DependencyError
from domino_onnx.graph.io.listed import replaceable_names

__all__ = ["drop_unread", "exported", "must_stay", "node_protos", "open_graph", "require_surgeon"]

_Key = TypeVar("_Key")
_Proto = TypeVar("_Proto")


@functools.cache
def require_surgeon() -> Any:
    """The module `onnx_graphsurgeon`; DependencyError without it. It prints no warnings: stdout may hold JSON."""
    try:
        surgeon = importlib.import_module("onnx_graphsurgeon")
    except ImportError as error:
        raise DependencyError(f"onnx-graphsurgeon is missing ({error}): `pip install onnx-graphsurgeon`") from None
    logger = importlib.import_module("onnx_graphsurgeon.logger").G_LOGGER
    logger.severity = logger.CRITICAL
    return surgeon


def open_graph(model: ModelProto) -> Any:
    """The graph of a model whose data are all inline, as onnx-graphsurgeon's objects.

    What a caller may replace is an input among others: the file only tells what it is where none is given.
    """
    replaceable = replaceable_names(model)
    if replaceable:
        stored = [tensor for tensor in model.graph.initializer if tensor.name not in replaceable]
        bare = ModelProto()
        bare.CopyFrom(model)
        del bare.graph.initializer[:]
        bare.graph.initializer.extend(stored)
        model = bare
    graph = require_surgeon().import_onnx(model)
    graph.import_domains = list(graph.import_domains)  # else an export adds domains to the model that was read
    return graph


def must_stay(graph: Any) -> set[int]:
    """Ids of the tensors that the graph gives, or that nodes of its subgraphs read: no node may take their place."""
    own = {id(node) for node in graph.nodes}
    made = (tensor for node in graph.nodes for tensor in node.outputs)
    inside = (tensor for tensor in made if any(id(reader) not in own for reader in tensor.outputs))
    return {id(tensor) for tensor in (*graph.outputs, *inside)}


def node_protos(nodes: Sequence[Any]) -> list[NodeProto]:
    """Some nodes of a graph as a file has them, in this order."""
    surgeon = require_surgeon()
    return list(surgeon.export_onnx(surgeon.Graph(nodes=list(nodes)), do_type_check=False).graph.node)


def drop_unread(graph: Any, ops: Sequence[str] = ("Constant", "DequantizeLinear", "QuantizeLinear")) -> None:
    """Take away the nodes of some operators that nothing reads any more, and those in front of them."""
    outputs = {id(tensor) for tensor in graph.outputs}
    while unread := [
        node
        for node in graph.nodes
        if node.op in ops and not any(tensor.outputs or id(tensor) in outputs for tensor in node.outputs)
    ]:
        gone = {id(node) for node in unread}
        for node in unread:
            node.inputs.clear()
        graph.nodes[:] = [node for node in graph.nodes if id(node) not in gone]


def exported(graph: Any, model: ModelProto, *, edited: bool = False) -> ModelProto:
    """`model` with the inputs, outputs, nodes and initializers of `graph`.

    Those that are as they were stay the same bytes, with their metadata and doc strings. So do the model's metadata,
    imports, functions, training information and quantisation annotations. Entries of value_info stay for tensors that
    there still are.

    Parameters
    ----------
    edited
        Whether stored values and attributes may have changed in place, as in a user's own graph.
    """
    surgeon = require_surgeon()
    made = surgeon.export_onnx(graph, do_type_check=False)
    result = ModelProto()
    result.CopyFrom(model)
    nodes, tensors = _nodes(model), _tensors(model)
    if edited:
        plain = surgeon.export_onnx(surgeon.import_onnx(model), do_type_check=False)
        nodes = {key: nodes[key] for key in nodes.keys() - _changed(_nodes(made), _nodes(plain)).keys()}
        tensors |= _changed(_tensors(made), _tensors(plain))
    del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
    del result.graph.input[:], result.graph.output[:]
    result.graph.output.extend(_originals(made.graph.output, model.graph.output))
    result.graph.node.extend(_original(node, nodes.get(tuple(node.output))) for node in made.graph.node)
    used = {name for node in result.graph.node for name in node.input} | _in_subgraphs(result)
    used |= {value.name for value in result.graph.output} | replaceable_names(model)
    result.graph.initializer.extend(
        tensors.get(tensor.name, tensor) for tensor in _in_order(made, tensors) if tensor.name in used
    )
    result.graph.input.extend(_with_stored(made, model, tensors.keys() & used))
    there = {name for node in result.graph.node for name in node.output}
    result.graph.value_info.extend(value for value in model.graph.value_info if value.name in there)
    return result


def _nodes(model: ModelProto) -> dict[tuple[str, ...], NodeProto]:
    return {tuple(node.output): node for node in model.graph.node}


def _tensors(model: ModelProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def _changed(made: Mapping[_Key, _Proto], plain: Mapping[_Key, _Proto]) -> dict[_Key, _Proto]:
    """What an export gives otherwise than that of the graph as it was read."""
    return {key: each for key, each in made.items() if key in plain and each != plain[key]}


def _original(node: NodeProto, before: NodeProto | None) -> NodeProto:
    same = before is not None and (before.op_type, before.domain, list(before.input)) == (
        node.op_type,
        node.domain,
        list(node.input),
    )
    return before if same and before is not None else node


def _originals(made: Iterable[ValueInfoProto], before: Iterable[ValueInfoProto]) -> Iterator[ValueInfoProto]:
    """Each input or output as it was before, where name, type and shape are the same."""
    known = {_described(value): value for value in before}
    return (known.get(_described(value), value) for value in made)


def _with_stored(made: ModelProto, before: ModelProto, stored: set[str]) -> list[ValueInfoProto]:
    """The inputs that were made, and in their places those that are stored as well, which onnx-graphsurgeon drops."""
    inputs = list(_originals(made.graph.input, before.graph.input))
    names = {value.name for value in inputs}
    for place, value in enumerate(before.graph.input):
        if value.name in stored - names:
            inputs.insert(place, value)
    return inputs


def _described(value: ValueInfoProto) -> tuple[object, ...]:
    tensor = value.type.tensor_type
    return (value.name, tensor.elem_type, *(axis.dim_param or axis.dim_value for axis in tensor.shape.dim))


def _in_order(made: ModelProto, before: dict[str, TensorProto]) -> list[TensorProto]:
    """Those of the model in their own order, new ones behind them."""
    new = [tensor for tensor in made.graph.initializer if tensor.name not in before]
    return [*before.values(), *new]


def _in_subgraphs(model: ModelProto) -> set[str]:
    """Names that nodes of subgraphs read: they may be of the main graph."""
    names: set[str] = set()
    waiting = [attribute for node in model.graph.node for attribute in node.attribute]
    while waiting:
        attribute = waiting.pop()
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            names |= {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
            waiting += [inner for node in graph.node for inner in node.attribute]
    return names
