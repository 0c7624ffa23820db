"""Where blocks begin: around what torch can't run, and after so many weights."""

from __future__ import annotations

from collections.abc import Iterator, Set

from onnx import ModelProto, NodeProto

from domino_onnx.bridge import missing_operators
from domino_onnx.graph import OnnxFile
from domino_onnx.graph.order import constant_nodes, execution_order, names_read, stored_names

__all__ = ["block_starts"]


def block_starts(file: OnnxFile, weights: Set[str], most: int) -> list[int]:
    """Places in the order in which nodes run, ascending: where a block begins and the one before ends.

    One begins wherever it changes whether torch can run the nodes, and before a block would have more than `most`
    of `weights`, which are names of stored tensors.
    """
    starts, runs, held = [], None, 0
    for place, node in _computing_nodes(file):
        can, here = _can_run(file, node), len(names_read(node) & weights)
        if can != runs or held + here > most:
            starts.append(place)
            runs, held = can, 0
        held += here
    return starts


def _computing_nodes(file: OnnxFile) -> Iterator[tuple[int, NodeProto]]:
    """The nodes in the order in which they run, with their places; without those that only make constants."""
    graph = file.proto.graph
    nodes = [graph.node[place] for place in execution_order(graph.node)]
    constant = constant_nodes(nodes, stored_names(graph))
    return ((place, node) for place, node in enumerate(nodes) if place not in constant)


def _can_run(file: OnnxFile, node: NodeProto) -> bool:
    """Whether torch has a counterpart for a node."""
    alone = ModelProto(opset_import=file.proto.opset_import, functions=file.proto.functions)
    alone.graph.node.append(node)
    return not missing_operators(alone)
