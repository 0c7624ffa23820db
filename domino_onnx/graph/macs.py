"""How many multiply-accumulates does one inference spend on each use of a weight?"""

from __future__ import annotations

import math

from domino_onnx.graph.index import Use
from domino_onnx.graph.shapes import Shape, ShapeTable
from domino_onnx.scheme import WeightLayout

__all__ = ["use_macs"]


def use_macs(use: Use, layout: WeightLayout, shapes: ShapeTable) -> int | None:
    """MACs that one node spends on the weight it reads; None where the shapes it takes aren't known.

    Conv: each weight once per output position (batch x spatial). ConvTranspose: once per input position. Gemm and
    MatMul: the reduction's length for each element of the output.
    """
    node = use.node
    if node is None:
        return None
    if node.op_type == "Conv":
        positions = _positions(_shape(use, node.output[0], shapes))
        return None if positions is None else layout.size * positions
    if node.op_type == "ConvTranspose":
        positions = _positions(_shape(use, node.input[0], shapes))
        return None if positions is None else layout.size * positions
    elements = _product(_shape(use, node.output[0], shapes))
    return None if elements is None else elements * layout.reduction


def _shape(use: Use, name: str, shapes: ShapeTable) -> Shape | None:
    found = use.scope.locate(name)
    return None if found is None else shapes.get((found[0].path, found[1]))


def _positions(shape: Shape | None) -> int | None:
    """Batch times spatial size of an (N, C, *spatial) tensor."""
    return None if shape is None or len(shape) < 2 else _product((shape[0], *shape[2:]))


def _product(shape: Shape | None) -> int | None:
    if shape is None:
        return None
    known = [size for size in shape if size is not None]
    return math.prod(known) if len(known) == len(shape) else None
