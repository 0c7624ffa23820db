"""What does a node read, and in which order can nodes run? ONNX asks for sorted graphs, but not all files are."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from onnx import GraphProto, NodeProto

from domino_onnx.errors import ModelError
from domino_onnx.graph.walk import subgraphs

__all__ = [
    "RANDOM",
    "captured",
    "constant_nodes",
    "describe",
    "execution_order",
    "names_read",
    "sort_nodes",
    "stored_names",
]

RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
"""Operators that chance has a say in."""


def names_read(node: NodeProto) -> set[str]:
    """Names of all values that a node needs: its inputs, and what its subgraphs read from around them."""
    return {name for name in node.input if name} | captured(node)


def captured(node: NodeProto) -> set[str]:
    """Names that a node's subgraphs read from the graphs around them."""
    names: set[str] = set()
    for _, graph in subgraphs(node):
        own = {value.name for value in graph.input} | stored_names(graph)
        own.update(
            name for inner in graph.node for name in inner.output
        )  # read before they are made, if it isn't sorted
        names.update(value.name for value in graph.output if value.name not in own)
        names.update(name for inner in graph.node for name in names_read(inner) if name not in own)
    return names - {""}


def stored_names(graph: GraphProto) -> set[str]:
    """Names of a graph's initializers, sparse ones with them."""
    return {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}


def describe(node: NodeProto) -> str:
    """Name a node for a message: its own name or, without one, its first output."""
    domain = f"{node.domain}::" if node.domain else ""
    name = node.name or next((output for output in node.output if output), "")
    return f"node {name!r} ({domain}{node.op_type})"


def execution_order(nodes: Sequence[NodeProto]) -> list[int]:
    """Positions of nodes, each behind those that it reads from; a sorted graph's own order otherwise.

    Raises
    ------
    ModelError
        For a tensor that two nodes make, and for a cycle.
    """
    made_by = _makers(nodes)
    order = _sorted([{made_by[name] for name in names_read(node) if name in made_by} for node in nodes])
    if len(order) < len(nodes):
        raise _cycle(nodes, sorted(set(range(len(nodes))) - set(order)), made_by)
    return order


def sort_nodes(graph: GraphProto) -> None:
    """Bring a graph's own nodes into the order in which they can run; the messages stay the same ones.

    Raises
    ------
    ModelError
        As `execution_order`.
    """
    before = list(graph.node)
    rank = {id(before[position]): place for place, position in enumerate(execution_order(before))}
    graph.node.sort(key=lambda node: rank[id(node)])


def constant_nodes(nodes: Sequence[NodeProto], stored: set[str]) -> set[int]:
    """Positions of the nodes that read nothing but what is stored; `nodes` are sorted."""
    known = set(stored)
    constant: set[int] = set()
    for index, node in enumerate(nodes):
        if names_read(node) <= known and node.op_type not in RANDOM:
            constant.add(index)
            known.update(node.output)
    return constant


def _sorted(sources: Sequence[set[int]]) -> list[int]:
    """Kahn's algorithm over the sources of each position, the lowest ready one first; what is on a cycle is left out.

    There is no recursion: a chain may be 50,000 nodes long.
    """
    readers: list[list[int]] = [[] for _ in sources]
    for position, behind in enumerate(sources):
        for source in behind:
            readers[source].append(position)
    waiting = [len(behind) for behind in sources]
    ready = [position for position, count in enumerate(waiting) if not count]
    order: list[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for reader in readers[order[-1]]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    return order


def _makers(nodes: Sequence[NodeProto]) -> dict[str, int]:
    makers: dict[str, int] = {}
    for position, node in enumerate(nodes):
        for name in node.output:
            if name and makers.setdefault(name, position) != position:
                raise ModelError(f"{describe(node)} makes {name!r}, which another node makes already")
    return makers


def _cycle(nodes: Sequence[NodeProto], stuck: list[int], made_by: Mapping[str, int]) -> ModelError:
    node, members = nodes[stuck[0]], set(stuck)
    tensor = next(name for name in sorted(names_read(node)) if made_by.get(name) in members)
    return ModelError(f"the graph has a cycle: {describe(node)} reads {tensor!r}, which depends on that node's output")
