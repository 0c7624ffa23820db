"""Which nodes behind a product join in: scales and biases of its outputs, a residual, bounds, an activation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.deployment.activations import activation_behind
from domino_onnx.deployment.layer import Layer, Product, Shapes
from domino_onnx.deployment.values import value_of

__all__ = ["with_epilogue"]

_Wide = NDArray[np.float64]


def with_epilogue(found: Product, node: Any, outputs: set[int], taken: set[int], runs: Sequence[Shapes]) -> Layer:
    """The product of a node with what follows it.

    Parameters
    ----------
    outputs
        Ids of the tensors that must stay (`must_stay`).
    taken
        Ids of the nodes that other layers have.
    runs
        Shapes of activations, as far as they were seen in each of one or several runs.
    """
    nodes, tensor = [node], node.outputs[0]
    rank = len(runs[0].get(tensor.name, ()))
    while (reader := _only_reader(tensor, outputs, taken)) is not None:
        changed = _rescaled(found, reader, tensor, rank)
        if changed is None:
            break
        found, tensor = changed, reader.outputs[0]
        nodes.append(reader)
    residual = None
    if reader is not None and reader.op == "Add":
        other = _other(reader, tensor)
        if other is not tensor and value_of(other) is None and _are_alike(node.outputs[0], other, runs):
            residual, tensor = other.name, reader.outputs[0]
            nodes.append(reader)
            reader = _only_reader(tensor, outputs, taken)
    low, high, activation = -math.inf, math.inf, None
    bounds = None if reader is None else _bounds(reader)
    if bounds is not None and reader is not None:
        (low, high), tensor = bounds, reader.outputs[0]
        nodes.append(reader)
    elif id(tensor) not in outputs:
        behind = activation_behind(tensor, outputs, len(found.shape) if found.op == "Conv" else max(rank, 1))
        if behind is not None and not any(id(each) in taken for each in behind[1]):
            activation, tensor = behind[0], behind[1][-1].outputs[0]
            nodes.extend(behind[1])
    return Layer(
        op=found.op,
        rows=found.rows,
        shape=found.shape,
        geometry=found.geometry,
        bias=found.bias,
        integers=found.integers,
        rank=rank,
        name=node.name or node.outputs[0].name,
        data=node.inputs[0].name,
        output=tensor.name,
        residual=residual,
        low=low,
        high=high,
        activation=activation,
        nodes=tuple(nodes),
    )


def _only_reader(tensor: Any, outputs: set[int], taken: set[int]) -> Any | None:
    """The one node that reads a tensor, if nothing else does and no other layer has it."""
    if id(tensor) in outputs or len(tensor.outputs) != 1:
        return None
    reader = tensor.outputs[0]
    return None if reader.domain or id(reader) in taken else reader


def _are_alike(one: Any, other: Any, runs: Sequence[Shapes]) -> bool:
    """Whether two activations have the same shape in all runs: operators broadcast no residual."""
    return all(one.name in shapes and shapes.get(other.name) == shapes[one.name] for shapes in runs)


def _other(node: Any, tensor: Any) -> Any:
    """The other operand of an Add or Mul."""
    return node.inputs[1] if node.inputs[0] is tensor else node.inputs[0]


def _rescaled(found: Product, reader: Any, tensor: Any, rank: int) -> Product | None:
    """The product with a node behind it that scales or shifts each output; None for other nodes.

    Parameters
    ----------
    rank
        Of the product; 0 where it isn't known.
    """
    affine = _affine(found, reader, tensor, rank)
    if affine is None:
        return None
    scale, shift = affine
    bias = shift if found.bias is None else found.bias * scale + shift
    rows = found.rows if np.all(scale == 1) else _times(found.rows, scale)
    if rows is None or not np.isfinite(bias.astype(np.float32)).all():
        return None
    integers = found.integers
    if integers is not None:
        integers = dataclasses.replace(integers, scales=(integers.scales * scale).astype(np.float32))
    return dataclasses.replace(found, rows=rows, bias=bias.astype(np.float32), integers=integers)


def _affine(found: Product, reader: Any, tensor: Any, rank: int) -> tuple[_Wide, _Wide] | None:
    """Factor and summand of each output, (outputs,) each."""
    count = len(found.rows)
    if reader.op == "BatchNormalization" and found.op == "Conv":
        return _normalization(reader, tensor, count)
    if reader.op not in ("Add", "Mul"):
        return None
    value = _of_outputs(value_of(_other(reader, tensor)), found, rank)
    if value is None:
        return None
    return (np.ones(count), value) if reader.op == "Add" else (value, np.zeros(count))


def _normalization(reader: Any, tensor: Any, count: int) -> tuple[_Wide, _Wide] | None:
    stored = [value_of(each) for each in reader.inputs[1:5]]
    if reader.inputs[0] is not tensor or len(stored) != 4 or any(each is None for each in stored):
        return None
    if reader.attrs.get("training_mode", 0) or not reader.attrs.get("spatial", 1) or len(reader.outputs) != 1:
        return None
    if any(each is None or each.shape != (count,) for each in stored):
        return None
    gamma, beta, mean, variance = (np.asarray(each, np.float64) for each in stored)
    scale = gamma / np.sqrt(variance + reader.attrs.get("epsilon", 1e-5))
    return scale, beta - mean * scale


def _times(rows: NDArray[np.float32], scale: _Wide) -> NDArray[np.float32] | None:
    """Rows with their factors; None where float32 doesn't hold them."""
    with np.errstate(all="ignore"):
        scaled = (rows * scale.reshape(-1, *[1] * (rows.ndim - 1))).astype(np.float32)
    return np.ascontiguousarray(scaled) if np.isfinite(scaled).all() else None


def _of_outputs(value: NDArray[Any] | None, found: Product, rank: int) -> _Wide | None:
    """A stored operand as (outputs,); None where it differs along other axes than the outputs, or adds an axis."""
    if value is None or value.dtype != np.float32:
        return None
    count = len(found.rows)
    if found.op == "Conv":
        rank = len(found.shape)
    if value.ndim > max(rank, 1):
        return None
    if value.size == 1:
        return np.full(count, float(value.reshape(-1)[0]))
    along = 1 - rank if found.op == "Conv" else -1
    if value.size != count or value.ndim < -along or value.shape[along] != count:
        return None
    return value.reshape(-1).astype(np.float64)


def _bounds(node: Any) -> tuple[float, float] | None:
    """What a Relu or Clip with stored bounds clips to."""
    if node.op == "Relu":
        return 0.0, math.inf
    if node.op != "Clip":
        return None
    given = list(_clip_bounds(node.inputs[1:], (node.attrs.get("min"), node.attrs.get("max"))))
    low, high = given
    if low is None or high is None or not low <= high:
        return None
    return low, high


def _clip_bounds(inputs: Sequence[Any], attributes: Sequence[float | None]) -> Iterator[float | None]:
    """Two bounds, which are attributes before opset 11 and inputs since; None for one that isn't stored."""
    for place, infinite in enumerate((-math.inf, math.inf)):
        attribute = attributes[place]
        if attribute is not None:
            yield float(attribute)
        elif len(inputs) <= place or inputs[place].is_empty():
            yield infinite
        else:
            value = value_of(inputs[place])
            yield None if value is None or value.size != 1 else float(value.reshape(-1)[0])
