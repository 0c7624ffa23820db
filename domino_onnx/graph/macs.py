"""How many multiply-accumulates does one inference spend on each use of a weight?"""

from __future__ import annotations

import math

from onnx import NodeProto

from domino_onnx.graph.index import Use
from domino_onnx.graph.shapes import Shape, ShapeTable
from domino_onnx.scheme import WeightLayout

__all__ = ["unpruned_macs", "use_macs"]

_CONVOLUTIONS = frozenset({"Conv", "ConvInteger", "ConvTranspose", "DeformConv", "FusedConv", "QLinearConv"})
_PRODUCTS = frozenset(
    {
        *("DynamicQuantizeMatMul", "FusedGemm", "FusedMatMul", "GemmFastGelu", "MatMulInteger"),
        *("MatMulIntegerToFloat", "MatMulNBits", "QGemm", "QLinearMatMul"),
    }
)
_PROJECTIONS = frozenset({"Attention", "PackedAttention", "QAttention"})
_RECURRENT = frozenset({"DynamicQuantizeLSTM", "GRU", "LSTM", "RNN"})


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


def unpruned_macs(use: Use, params: int, parts: int, shapes: ShapeTable) -> int | None:
    """MACs that a node spends on a weight that isn't pruned, or that is a part of what it multiplies with.

    Parameters
    ----------
    params
        How many weights it has.
    parts
        Weights of all tensors that are behind what the node reads, this one among them.
    """
    node = use.node
    if node is None or not node.input or not node.output:
        return None
    size, times = params, _times(use, node, shapes)
    if node.op_type in ("Conv", "ConvTranspose"):
        size = _product(_shape(use, node.input[1], shapes)) or 0
    elif node.op_type in ("Gemm", "MatMul"):
        data = _shape(use, node.input[0], shapes)
        is_turned = node.op_type == "Gemm" and any(each.name == "transA" and each.i for each in node.attribute)
        size = (data[0 if is_turned else -1] if data else None) or 0
    return size * times * params // max(parts, 1) if size and times is not None else None


def _times(use: Use, node: NodeProto, shapes: ShapeTable) -> int | None:
    """How often a node runs over what it multiplies with; elements of the output for Gemm and MatMul."""
    data, made = _shape(use, node.input[0], shapes), _shape(use, node.output[0], shapes)
    if node.op_type in ("Gemm", "MatMul"):
        return _product(made)
    if node.op_type in _CONVOLUTIONS:
        return _positions(data if node.op_type == "ConvTranspose" else made)
    if node.op_type in _PRODUCTS and use.position:
        return _product(made[:-1]) if made else None
    if node.op_type in _PROJECTIONS:
        return _product(data[:-1]) if data else None
    return _product(data[:2]) if data and node.op_type in _RECURRENT else None


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
