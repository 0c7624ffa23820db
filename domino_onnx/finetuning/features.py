"""Activations inside the model that the student may be taught by, beside the outputs."""

from __future__ import annotations

import numpy as np
from onnx import GraphProto

from domino_onnx.graph.order import constant_nodes, execution_order, stored_names

__all__ = ["feature_tensors"]

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_MOST = 8


def feature_tensors(graph: GraphProto, most: int = _MOST) -> tuple[str, ...]:
    """Names of up to `most` tensors that go into convolutions and matrix products, evenly from all over the graph.

    What comes straight from the graph's inputs or from constants tells nothing, and is left out.
    """
    nodes = [graph.node[place] for place in execution_order(graph.node)]
    constant = constant_nodes(nodes, stored_names(graph))
    made = {name for place, node in enumerate(nodes) if place not in constant for name in node.output if name}
    outputs = {value.name for value in graph.output}
    read = (name for node in nodes if node.op_type in _WEIGHTED for name in node.input)
    names = [name for name in dict.fromkeys(read) if name in made and name not in outputs]
    places = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
    return tuple(names[place] for place in places)
