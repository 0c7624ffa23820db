"""Which operators have weights, at which inputs, and how does each sum over its weight?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from domino_onnx.graph.attributes import attributes, integer
from domino_onnx.graph.index import Use
from domino_onnx.graph.values import Stored
from domino_onnx.graph.walk import normal_domain
from domino_onnx.scheme import WeightLayout

__all__ = ["PRUNABLE", "WeightView", "listed_inputs", "operator_of", "stored_view", "weight_view", "weights_in"]

PRUNABLE: Mapping[str, tuple[int, ...]] = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1)}
"""Operators whose weights are pruned, and the inputs that can be a weight."""
_LISTED: Mapping[str, tuple[int, ...]] = {
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "DeformConv": (1,),
    "Einsum": (0, 1),
    "ConvInteger": (1,),
    "MatMulInteger": (0, 1),
    "QLinearConv": (3,),
    "QLinearMatMul": (0, 3),
}
"""Standard operators whose weights are counted but not pruned: integer and recurrent ones among them."""
_CONTRIB: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(
        (
            *("Attention", "CausalConvWithState", "ConvTransposeWithDynamicPads", "DecoderMaskedSelfAttention"),
            *("FusedConv", "GemmFastGelu", "MatMulBnb4", "MatMulFpQ4", "MatMulNBits", "NhwcConv", "NhwcFusedConv"),
            *("PackedAttention", "QAttention"),
        ),
        (1,),
    ),
    **dict.fromkeys(
        (
            *("DynamicQuantizeMatMul", "FusedGemm", "FusedMatMul", "FusedMatMulActivation", "GemmFloat8"),
            *("MatMulInteger16", "MatMulIntegerToFloat", "SparseToDenseMatMul", "TransposeMatMul"),
        ),
        (0, 1),
    ),
    **dict.fromkeys(("AttnLSTM", "DynamicQuantizeLSTM"), (1, 2)),
    "DecoderAttention": (2, 3),
    "LongformerAttention": (1, 4),
    "MoE": (2, 4, 6),
    "QGemm": (0, 3),
    "QLinearConv": (3,),
    "QMoE": (2, 5, 8),
    "QOrderedAttention": (5, 6, 7),
    "QOrderedLongformerAttention": (2, 8),
    "QOrderedMatMul": (0, 2),
}
"""ONNX Runtime's own operators, most of them fused ones: the same."""
_CONTRIB_DOMAIN = "com.microsoft."
_SEVERAL_A_BYTE = frozenset({"com.microsoft.MatMulBnb4", "com.microsoft.MatMulNBits"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WeightView:
    """A weight as one operator reads it.

    Attributes
    ----------
    layout
        Over which axis the operator sums.
    output_axis
        The axis that counts channels, rows or columns of the output; None for a vector. Of a ConvTranspose it counts
        those of one convolution group.
    outputs
        How many channels, rows or columns the operator computes with the weight.
    conv_groups
        ONNX's `group` of a convolution; 1 for others.
    """

    layout: WeightLayout
    output_axis: int | None
    outputs: int
    conv_groups: int = 1


def operator_of(use: Use) -> str:
    """The operator that reads, after its domain if it isn't a standard one; empty for an output of a graph."""
    if use.node is None:
        return ""
    domain = normal_domain(use.node.domain)
    return f"{domain}.{use.node.op_type}" if domain else use.node.op_type


def listed_inputs(operator: str) -> tuple[int, ...]:
    """Inputs of an operator that are counted when they are weights, pruned or not."""
    if operator.startswith(_CONTRIB_DOMAIN):
        return _CONTRIB.get(operator.removeprefix(_CONTRIB_DOMAIN), ())
    return PRUNABLE[operator] if operator in PRUNABLE else _LISTED.get(operator, ())


def weights_in(use: Use, shape: Sequence[int]) -> int:
    """How many weights a tensor of this shape holds for its reader: some pack several into a byte."""
    given = attributes(use.node) if use.node is not None and operator_of(use) in _SEVERAL_A_BYTE else {}
    return integer(given, "K", 0) * integer(given, "N", 0) or math.prod(shape)


def weight_view(operator: str, position: int, shape: Sequence[int], given: Mapping[str, object]) -> WeightView | None:
    """How an operator reads a weight of this shape at input `position`; None if they can't belong together.

    Parameters
    ----------
    given
        The node's attributes.
    """
    if operator not in PRUNABLE or not shape:
        return None
    if operator in ("Gemm", "MatMul"):
        name = "transA" if position == 0 else "transB"
        transposed = operator == "Gemm" and bool(integer(given, name, 0))
        return _matrix_view(shape, left=position == 0, transposed=transposed)
    groups = integer(given, "group", 1)
    return _conv_view(shape, groups) if operator == "Conv" else _conv_transpose_view(shape, groups)


def stored_view(use: Use, value: Stored) -> WeightView | None:
    """The same for a use of a stored tensor, with axes as they are in the file, before any transposes."""
    if use.node is None:
        return None
    view = weight_view(operator_of(use), use.position, value.shape, attributes(use.node))
    if view is None:
        return None
    return dataclasses.replace(
        view,
        layout=view.layout.stored_as(value.axes, value.tensor.dims),
        output_axis=None if view.output_axis is None else value.axes[view.output_axis],
    )


def _conv_view(shape: Sequence[int], groups: int) -> WeightView | None:
    if len(shape) < 3 or groups < 1 or shape[0] % groups:
        return None
    return WeightView(layout=WeightLayout.conv(shape), output_axis=0, outputs=shape[0], conv_groups=groups)


def _conv_transpose_view(shape: Sequence[int], groups: int) -> WeightView | None:
    if len(shape) < 3 or groups < 1 or shape[0] % groups:
        return None
    layout = WeightLayout.conv_transpose(shape, groups)
    return WeightView(layout=layout, output_axis=1, outputs=shape[1] * groups, conv_groups=groups)


def _matrix_view(shape: Sequence[int], *, left: bool, transposed: bool) -> WeightView:
    layout = WeightLayout.matrix(shape, left=left, transposed=transposed)
    rank = len(shape)
    output_axis = None if rank == 1 else 2 * rank - 3 - layout.axis  # the other one of the last two
    return WeightView(layout=layout, output_axis=output_axis, outputs=1 if output_axis is None else shape[output_axis])
