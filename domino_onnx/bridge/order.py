"""The order of evaluation: ONNX asks for sorted graphs, files in the wild aren't always."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

import onnx

from domino_onnx.errors import ModelError

__all__ = ["describe", "names_read", "sorted_positions", "subgraphs"]


def describe(node: onnx.NodeProto) -> str:
    """Name a node for a message: its own name or, without one, its first output."""
    domain = f"{node.domain}::" if node.domain else ""
    name = node.name or next((output for output in node.output if output), "")
    return f"node {name!r} ({domain}{node.op_type})"


def subgraphs(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """Yield the graphs among a node's attributes with the attribute's name (and position, in a list)."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.name, attribute.g
        for position, graph in enumerate(attribute.graphs):
            yield f"{attribute.name}.{position}", graph


def names_read(node: onnx.NodeProto) -> set[str]:
    """Return the tensors that a node needs: its inputs, and the outer ones that its subgraphs capture."""
    names = {name for name in node.input if name}
    for _, graph in subgraphs(node):
        names |= _captured(graph)
    return names


def sorted_positions(nodes: Sequence[onnx.NodeProto]) -> list[int]:
    """Return the positions of `nodes` in an order in which each stands after those that it reads from.

    Among nodes that are ready the file's order is kept, so a sorted graph comes back as it is. Raises
    :class:`ModelError` for a tensor with two producers and for a cycle.
    """
    producer = _producers(nodes)
    reads = [{producer[name] for name in names_read(node) if name in producer} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for position, sources in enumerate(reads):
        for source in sources:
            readers[source].append(position)

    waiting = [len(sources) for sources in reads]
    ready = [position for position, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while ready:
        position = heapq.heappop(ready)
        order.append(position)
        for reader in readers[position]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        _report_cycle(nodes, [position for position, count in enumerate(waiting) if count], producer)
    return order


def _captured(graph: onnx.GraphProto) -> set[str]:
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {sparse.values.name for sparse in graph.sparse_initializer}
    needed = {value.name for value in graph.output}
    for node in graph.node:
        own.update(node.output)
        needed |= names_read(node)
    return needed - own


def _producers(nodes: Iterable[onnx.NodeProto]) -> dict[str, int]:
    producer: dict[str, int] = {}
    for position, node in enumerate(nodes):
        for name in node.output:
            if name and producer.setdefault(name, position) != position:
                raise ModelError(f"{describe(node)} makes {name!r}, which another node makes already")
    return producer


def _report_cycle(nodes: Sequence[onnx.NodeProto], stuck: list[int], producer: dict[str, int]) -> None:
    node = nodes[stuck[0]]
    members = set(stuck)
    tensor = next(name for name in sorted(names_read(node)) if producer.get(name) in members)
    raise ModelError(f"the graph has a cycle: {describe(node)} reads {tensor!r}, which depends on that node's output")
