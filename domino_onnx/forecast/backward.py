"""How many numbers of the forward pass torch keeps for the way back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from onnx import NodeProto

from domino_onnx.graph import Segment, ShapeTable

__all__ = ["SAME_NUMBERS", "SAVED_SHARE", "WITH_GRADIENTS", "kept_for_backward"]

WITH_GRADIENTS = 1.4
"""What training keeps for the way back, with the gradients and temporary tensors that are there at once."""
SAVED_SHARE = 0.25
"""Of the memory that is left: for what training keeps where not all of it fits. Gradients and more take the rest."""

SAME_NUMBERS = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that give the numbers that they get, without a copy."""
_KEEP_OUTPUT = frozenset({"Exp", "LogSoftmax", "Reciprocal", "Relu", "Sigmoid", "Softmax", "Sqrt", "Tanh"})
_KEEP_NOTHING = frozenset(
    {
        "Add",
        "Cast",
        "Concat",
        "Expand",
        "Gather",
        "GlobalAveragePool",
        "Neg",
        "Pad",
        "ReduceMean",
        "ReduceSum",
        "Resize",
    }
    | {"Shape", "Slice", "Split", "Sub", "Sum", "Transpose", "Where"}
)
"""Their derivatives depend on shapes alone, or on what is small."""
_PRODUCTS = frozenset({"Div", "Mul"})
"""They keep a factor for the other one's sake: nothing where one is a constant."""
_INDEX = 2
"""A place of MaxPool is int64: as much as two floats."""


def kept_for_backward(segments: Sequence[Segment], table: ShapeTable) -> int:
    """Numbers of one sample, each tensor once; operators that aren't known keep their inputs."""
    constants = frozenset(name for segment in segments for name in segment.constants)
    origins: dict[str, str] = {}
    kept: set[str] = set()
    places = 0
    for node in (node for segment in segments for node in segment.nodes):
        if node.op_type in SAME_NUMBERS:
            origins[node.output[0]] = origins.get(node.input[0], node.input[0])
            continue
        kept |= {origins.get(name, name) for name in _kept_by(node, constants) if name not in constants}
        if node.op_type == "MaxPool":
            places += _INDEX * _size(table, node.output[0])
    return places + sum(_size(table, name) for name in kept)


def _kept_by(node: NodeProto, constants: frozenset[str]) -> Iterator[str]:
    if node.op_type in _KEEP_OUTPUT:
        yield from node.output
    elif node.op_type not in _KEEP_NOTHING and not (
        node.op_type in _PRODUCTS and any(name in constants for name in node.input)
    ):
        yield from node.input


def _size(table: ShapeTable, name: str) -> int:
    return math.prod(size or 1 for size in table.get(((), name), (0,)))
