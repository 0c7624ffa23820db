"""What operators that compute do to axes: elementwise, linear, normalising, pooling ones. After the ONNX schemas.

A rule names the axes that it understands; `NodeView.freeze_rest` freezes the others, so a rule may return at any point.
An operator without a rule freezes all axes of its tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import NodeProto

from domino_onnx.graph.channels.axes import AxisLinks
from domino_onnx.graph.channels.moves import MOVES
from domino_onnx.graph.channels.view import Constants, Link, NodeView, Port, ShapeOf
from domino_onnx.graph.walk import normal_domain

__all__ = ["apply_rule", "is_plain_conv"]

# fmt: off
_ELEMENTWISE = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Clip", "Cos", "Cosh",
    "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
    "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization", "Mish", "Neg", "Not",
    "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softmax", "Softplus",
    "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)
"""Of one tensor. The normalising ones belong here: what they divide by is the same in any order of the channels."""
_BROADCASTING = (
    "Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift", "Div", "Equal", "Expand", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum",
    "Where", "Xor",
)
# fmt: on
_LAYER_NORMS = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool")
_OLDEST_OPSET = 7
"""Before it, operators broadcast by an attribute, and several ran in training mode."""


def apply_rule(node: NodeProto, shapes: ShapeOf, links: AxisLinks, constants: Constants, opset: int) -> None:
    """Link or freeze the axes of a node's tensors.

    Parameters
    ----------
    shapes
        Of the tensors of the main graph, by name. If one of the node's is missing, all of the others freeze.
    """
    names = [name for name in (*node.input, *node.output) if name]
    if normal_domain(node.domain) or any(name not in shapes for name in names):
        _freeze_all(names, shapes, links)
        return
    view = NodeView(node, shapes, links, constants, opset)
    rule = _RULES.get(node.op_type)
    if rule is not None and opset >= _OLDEST_OPSET and view.outputs:
        rule(view)
    view.freeze_rest()


def is_plain_conv(node: NodeProto) -> bool:
    """Whether a Conv or ConvTranspose sums over all its input channels: its `group` is 1."""
    return all(attribute.i == 1 for attribute in node.attribute if attribute.name == "group")


def _freeze_all(names: Sequence[str], shapes: ShapeOf, links: AxisLinks) -> None:
    for name in names:
        for axis in range(len(shapes.get(name, ()))):
            links.freeze((name, axis))


def _elementwise(view: NodeView) -> None:
    random = view.op == "Dropout" and view.given(2)
    if view.only_output and not random:
        view.link_all([view.x, view.y])


def _broadcasting(view: NodeView) -> None:
    if view.only_output:
        operands = view.inputs[:1] if view.op == "Expand" else view.inputs
        _broadcast(view, operands, view.y)


def _broadcast(view: NodeView, operands: Sequence[Port], y: Port) -> None:
    """Multidirectional broadcasting: axes counted from the last."""
    for axis in range(y.rank):
        found = [(port, axis - y.rank + port.rank) for port in operands if axis - y.rank + port.rank >= 0]
        _broadcast_axis(view, found, (y, axis))


def _broadcast_axis(view: NodeView, operands: Sequence[Link], result: Link) -> None:
    """Operands that have size 1 on this axis are repeated along it, which nobody minds."""
    sizes = [port.shape[axis] for port, axis in (*operands, result)]
    if None not in sizes:
        full = [(port, axis) for port, axis in operands if port.shape[axis] != 1]
        view.release(*operands)
        view.link(result, *full)


def _conv(view: NodeView) -> None:
    x, w, y = view.x, view.inputs[1], view.y
    if w.rank < 3 or not x.rank == w.rank == y.rank:
        return
    inputs, outputs = (0, 1) if view.op == "ConvTranspose" else (1, 0)
    groups = view.integer("group", 1)
    view.link((x, 0), (y, 0))
    if groups == 1:
        view.link((x, 1), (w, inputs))
        view.link((y, 1), (w, outputs))
    elif groups == x.shape[1] and w.shape[1] == 1:
        _depthwise(view, x, w, y)
    else:
        return
    if view.given(2) and view.inputs[2].rank == 1:
        view.link((y, 1), (view.inputs[2], 0))


def _depthwise(view: NodeView, x: Port, w: Port, y: Port) -> None:
    """One input channel a group: output channel ``c * multiplier + q`` is made from input channel `c` alone."""
    channels, filters = x.shape[1], w.shape[0]
    view.link((y, 1), (w, 0))
    if channels == filters:
        view.link((x, 1), (w, 0))
    elif channels and filters and filters % channels == 0:
        each = np.arange(filters)
        view.link_part((x, 1), each // (filters // channels), (w, 0), each)


def _gemm(view: NodeView) -> None:
    a, b, y = view.x, view.inputs[1], view.y
    if not a.rank == b.rank == y.rank == 2:
        return
    row = view.integer("transA", 0)
    column = 1 - view.integer("transB", 0)
    view.link((a, row), (y, 0))
    view.link((a, 1 - row), (b, 1 - column))
    view.link((b, column), (y, 1))
    if view.given(2):
        _broadcast(view, view.inputs[2:3], y)


def _matmul(view: NodeView) -> None:
    """Batch axes broadcast; a vector has only the axis that is summed over (NumPy's matmul)."""
    a, b, y = view.x, view.inputs[1], view.y
    if not a.rank or not b.rank:
        return
    view.link((a, a.rank - 1), (b, max(b.rank - 2, 0)))
    batch = y.rank
    if b.rank > 1:
        batch -= 1
        view.link((b, b.rank - 1), (y, batch))
    if a.rank > 1:
        batch -= 1
        view.link((a, a.rank - 2), (y, batch))
    for axis in range(batch):
        places = [(port, axis - batch + port.rank - 2) for port in (a, b)]
        _broadcast_axis(view, [place for place in places if place[1] >= 0], (y, axis))


def _batch_normalization(view: NodeView) -> None:
    per_pixel = view.integer("spatial", 1) == 0
    if not view.only_output or view.integer("training_mode", 0) or per_pixel or view.x.rank < 2:
        return
    view.link_all([view.x, view.y])
    view.link((view.x, 1), *((port, 0) for port in view.inputs[1:] if port.rank == 1))


def _instance_normalization(view: NodeView) -> None:
    view.link_all([view.x, view.y])
    view.link((view.x, 1), *((port, 0) for port in view.inputs[1:3] if port.rank == 1))


def _layer_normalization(view: NodeView) -> None:
    """Mean and variance are over all of the normalised axes, in any order; Scale and B broadcast to X."""
    if view.only_output:
        _broadcast(view, [port for port in view.inputs[:3] if port.name], view.y)


def _pool(view: NodeView) -> None:
    if view.only_output and view.x.rank == view.y.rank:
        view.link_all([view.x, view.y], skip=frozenset(range(2, view.x.rank)))


def _quantize(view: NodeView) -> None:
    """QuantizeLinear and DequantizeLinear: one scale, or one for each place of `axis`."""
    parameters = [port for port in view.inputs[1:] if port.name]
    if view.integer("block_size", 0) or any(port.rank > 1 for port in parameters) or not view.x.rank:
        return
    axis = view.integer("axis", 1) % view.x.rank
    view.link_all([view.x, view.y])
    for port in parameters:
        if port.rank and port.shape != (1,):
            view.link((view.x, axis), (port, 0))


_RULES: dict[str, Callable[[NodeView], None]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_BROADCASTING, _broadcasting),
    **dict.fromkeys(_LAYER_NORMS, _layer_normalization),
    **dict.fromkeys(_POOLS, _pool),
    **dict.fromkeys(("Conv", "ConvTranspose"), _conv),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantize),
    "BatchNormalization": _batch_normalization,
    "Gemm": _gemm,
    "InstanceNormalization": _instance_normalization,
    "MatMul": _matmul,
    **MOVES,
}
