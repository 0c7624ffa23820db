"""How do new nodes get into a graph, in front of all others or right behind one of them?"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import GraphProto, ModelProto, NodeProto

from domino_onnx.graph.walk import nodes, subgraphs

__all__ = ["NodeInsertion", "names_in_use"]


class NodeInsertion:
    """One pass of insertions into a graph; `finish` ends it. Nodes are appended and sorted in, and never copied."""

    def __init__(self, graph: GraphProto) -> None:
        self._graph = graph
        self._originals = list(graph.node)
        self._first: list[NodeProto] = []
        self._behind: dict[int, list[NodeProto]] = {}

    def add(self, made: Sequence[NodeProto], behind: NodeProto | None) -> None:
        """Add nodes in their order, behind a node of the graph, or in front of all (but behind earlier ones there)."""
        self._graph.node.extend(made)
        added = list(self._graph.node[-len(made) :])
        if behind is None:
            self._first += added
        else:
            self._behind[id(behind)] = added

    def finish(self) -> None:
        """Bring all nodes to their places."""
        order = list(self._first)
        for node in self._originals:
            order += [node, *self._behind.get(id(node), [])]
        rank = {id(node): position for position, node in enumerate(order)}
        self._graph.node.sort(key=lambda node: rank[id(node)])


def names_in_use(model: ModelProto) -> set[str]:
    """Every name of a value anywhere in the model."""
    graphs = [model.graph, *(graph for node in nodes(model) for _, graph in subgraphs(node))]
    taken = {name for node in nodes(model) for name in (*node.input, *node.output)}
    for graph in graphs:
        taken.update(value.name for value in (*graph.input, *graph.output, *graph.initializer))
        taken.update(tensor.values.name for tensor in graph.sparse_initializer)
    return taken
