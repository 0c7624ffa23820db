"""Which nodes of a model multiply with a stored weight, and which nodes behind them join in?

Layers with many zeros gain by themselves. Others may gain by 8 bits, or by what their neighbours gain: ONNX Runtime's
own convolutions between two of ours want another memory layout, or floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.deployment.epilogue import with_epilogue
from domino_onnx.deployment.file_grids import file_values, on_file_grids
from domino_onnx.deployment.layer import IntegerRows, Kept, Layer, Product, Shapes
from domino_onnx.deployment.surgeon import must_stay
from domino_onnx.deployment.values import integers_of, value_of
from domino_onnx.deployment.windows import windows_of
from domino_onnx.plurals import quantity

__all__ = ["find_layers"]

_MOST_INPUTS = 65_536


def find_layers(graph: Any, *runs: Shapes) -> tuple[list[Layer], list[Kept]]:
    """The layers of the main graph that may be deployed, in its order, and what stays with ONNX Runtime.

    Parameters
    ----------
    runs
        Shapes of activations, as far as they were seen in each of one or several runs. A residual joins in only where
        it has the layer's shape in all of them, and in none that is empty.
    """
    outputs = must_stay(graph)
    values = file_values(graph)
    taken: set[int] = set()
    layers: list[Layer] = []
    kept: list[Kept] = []
    for node in graph.nodes:
        if node.domain or node.op not in ("Conv", "Gemm", "MatMul"):
            continue
        found = _product(node)
        layer = found if isinstance(found, str) else with_epilogue(found, node, outputs, taken, runs)
        placed = layer if isinstance(layer, str) else on_file_grids(layer, values)
        if isinstance(placed, str):
            kept.append(Kept(name=node.name or node.outputs[0].name, op=node.op, reason=placed))
            continue
        taken |= {id(each) for each in placed.nodes}
        layers.append(placed)
    if any(layer.skips for layer in layers):
        return layers, kept
    alone = "it has no zeros to skip, and no other layer has"
    return [], [*kept, *(Kept(name=layer.name, op=layer.op, reason=alone) for layer in layers)]


def _product(node: Any) -> Product | str:
    """What a node multiplies with, or why it can't be deployed."""
    weight = value_of(node.inputs[1])
    if weight is None:
        return "it has no stored weight, or not one of floats"
    if weight.dtype != np.float32:
        return f"its weight is stored as {weight.dtype}, not as float32"
    made = _convolution(node, weight) if node.op == "Conv" else _matrix(node, weight)
    return made if isinstance(made, str) else _worth_timing(made)


def _worth_timing(found: Product) -> Product | str:
    inputs = math.prod(found.shape[1:])
    if not found.rows.size:
        return "its weight is empty"
    if inputs > _MOST_INPUTS:
        return f"an output has {inputs:,} inputs, more than {_MOST_INPUTS:,}"
    return found


def _convolution(node: Any, weight: NDArray[Any]) -> Product | str:
    windows = windows_of(node.attrs, weight.ndim - 2)
    if isinstance(windows, str):
        return windows
    has_bias = len(node.inputs) > 2 and not node.inputs[2].is_empty()
    bias = value_of(node.inputs[2]) if has_bias else None
    if has_bias and bias is None:
        return "its bias is computed"
    geometry = {**windows, "group": int(node.attrs.get("group", 1))}
    rows = _channels_last(weight)
    integers = _integer_rows(node.inputs[1], _channels_last)
    return Product(op="Conv", rows=rows, shape=weight.shape, geometry=geometry, bias=bias, integers=integers)


def _matrix(node: Any, weight: NDArray[Any]) -> Product | str:
    if weight.ndim != 2:
        return f"its weight has {quantity(weight.ndim, 'axis', 'axes')}, not 2"
    attrs = node.attrs
    if attrs.get("transA", 0) or attrs.get("alpha", 1.0) != 1.0 or attrs.get("beta", 1.0) != 1.0:
        return "its transA, alpha or beta isn't the default"
    is_transposed = node.op == "Gemm" and attrs.get("transB", 0)

    def in_rows(values: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(values if is_transposed else values.T)

    rows, integers = in_rows(weight), _integer_rows(node.inputs[1], in_rows)
    bias = None
    if len(node.inputs) > 2 and not node.inputs[2].is_empty():
        stored = value_of(node.inputs[2])
        if stored is None or stored.size not in (1, len(rows)) or (stored.ndim > 1 and stored.shape[-1] != stored.size):
            return "its bias is no stored vector"
        bias = np.broadcast_to(stored.reshape(-1), (len(rows),)).astype(np.float32)
    return Product(op="MatMul", rows=rows, shape=rows.shape, geometry={}, bias=bias, integers=integers)


def _channels_last(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(values, 1, -1))


def _integer_rows(weight: Any, in_rows: Callable[[NDArray[Any]], NDArray[Any]]) -> IntegerRows | None:
    """The stored integers of a weight as rows of int8 around 0.

    None without a scale for each output, and where they don't fit: uint8 with a zero point of 128 does.
    """
    found = integers_of(weight)
    if found is None or found.integers.dtype.itemsize != 1 or not found.integers.size:
        return None
    around_zero = in_rows(found.integers - found.zero_points)
    rows = around_zero.astype(np.int8)
    if (rows != around_zero).any():
        return None
    scales = in_rows(np.broadcast_to(found.scales, found.integers.shape)).reshape(len(rows), -1)
    if (scales != scales[:, :1]).any():
        return None
    return IntegerRows(rows=rows, scales=np.ascontiguousarray(scales[:, 0]))
