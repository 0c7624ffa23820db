"""Which nodes of a model multiply with a stored weight that has zeros, and which nodes behind them join in?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.deployment.surgeon import value_of

__all__ = ["Kept", "Layer", "find_layers"]

_FEWEST_ZEROS = 0.4
"""Below this share of zeros no layer was ever faster (benchmarks/cpu.py), so none is timed."""
_MOST_INPUTS = 65_536
_Floats = NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """One product with a weight, the bias, residual and bounds behind it included.

    Attributes
    ----------
    op
        ``"Conv"``, or ``"MatMul"`` for Gemm too.
    rows
        (outputs, *kernel, inputs of a group) of a Conv, (outputs, inputs) of a matrix; C-contiguous.
    shape
        Of the weight: (outputs, inputs of a group, *kernel) or (outputs, inputs).
    geometry
        Strides, dilations, pads and group of a Conv.
    data, residual, output
        Names of activations. The residual is added before the bounds.
    bias
        (outputs,).
    nodes
        The graph's nodes that it replaces, the product first.
    """

    name: str
    op: str
    rows: _Floats
    shape: tuple[int, ...]
    geometry: Mapping[str, Any]
    data: str
    output: str
    bias: _Floats | None
    residual: str | None
    low: float
    high: float
    nodes: tuple[Any, ...]

    @property
    def zeros(self) -> float:
        """Share of the weights that are zero."""
        return 1 - np.count_nonzero(self.rows) / self.rows.size


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A node that stays as it is, and why."""

    name: str
    op: str
    reason: str


def find_layers(graph: Any, shapes: Shapes) -> tuple[list[Layer], list[Kept]]:
    """The layers of the main graph that may be deployed, in its order, and what stays with ONNX Runtime.

    Parameters
    ----------
    shapes
        Of activations, as far as they were seen in a run. A residual joins in only where shapes are known.
    """
    outputs = {id(tensor) for tensor in graph.outputs}
    taken: set[int] = set()
    layers: list[Layer] = []
    kept: list[Kept] = []
    for node in graph.nodes:
        if node.domain or node.op not in ("Conv", "Gemm", "MatMul"):
            continue
        found = _product(node)
        if isinstance(found, str):
            kept.append(Kept(name=node.name or node.outputs[0].name, op=node.op, reason=found))
            continue
        layer = _extended(found, node, outputs, taken, shapes)
        taken |= {id(each) for each in layer.nodes}
        layers.append(layer)
    return layers, kept


@dataclasses.dataclass(slots=True, kw_only=True)
class _Product:
    op: str
    rows: _Floats
    shape: tuple[int, ...]
    geometry: dict[str, Any]
    bias: _Floats | None


def _product(node: Any) -> _Product | str:
    """What a node multiplies with, or why it can't be deployed."""
    weight = value_of(node.inputs[1])
    if weight is None:
        return "it has no stored weight, or not one of floats"
    if weight.dtype != np.float32:
        return f"its weight is stored as {weight.dtype}, not as float32"
    made = _convolution(node, weight) if node.op == "Conv" else _matrix(node, weight)
    return made if isinstance(made, str) else _worth_timing(made)


def _worth_timing(found: _Product) -> _Product | str:
    inputs = math.prod(found.shape[1:])
    if inputs > _MOST_INPUTS:
        return f"an output has {inputs:,} inputs, more than {_MOST_INPUTS:,}"
    zeros = 1 - np.count_nonzero(found.rows) / found.rows.size
    if zeros < _FEWEST_ZEROS:
        return f"less than {_FEWEST_ZEROS:.0%} of its weights are zero, too few to gain by"
    return found


def _convolution(node: Any, weight: NDArray[Any]) -> _Product | str:
    axes, attrs = weight.ndim - 2, node.attrs
    bias = value_of(node.inputs[2]) if len(node.inputs) > 2 else None
    padding = attrs.get("auto_pad", "NOTSET")
    pads = [0] * (2 * axes) if padding == "VALID" else list(attrs.get("pads", [0] * (2 * axes)))
    refusals = {
        f"it has {axes} axes in space, not 1 to 3": not 1 <= axes <= 3,
        "each output has one input channel: there is nothing to skip": weight.shape[1] == 1,
        "its padding depends on the input (auto_pad)": padding not in ("NOTSET", "VALID"),
        "its padding is negative": min(pads, default=0) < 0,
        "its bias is computed": len(node.inputs) > 2 and bias is None,
    }
    refused = next((reason for reason, holds in refusals.items() if holds), None)
    if refused is not None:
        return refused
    geometry = {
        "strides": list(attrs.get("strides", [1] * axes)),
        "dilations": list(attrs.get("dilations", [1] * axes)),
        "pads": pads,
        "group": int(attrs.get("group", 1)),
    }
    rows = np.ascontiguousarray(np.moveaxis(weight, 1, -1))
    return _Product(op="Conv", rows=rows, shape=weight.shape, geometry=geometry, bias=bias)


def _matrix(node: Any, weight: NDArray[Any]) -> _Product | str:
    if weight.ndim != 2:
        return f"its weight has {weight.ndim} axes, not 2"
    attrs = node.attrs
    if attrs.get("transA", 0) or attrs.get("alpha", 1.0) != 1.0 or attrs.get("beta", 1.0) != 1.0:
        return "its transA, alpha or beta isn't the default"
    rows = np.ascontiguousarray(weight if node.op == "Gemm" and attrs.get("transB", 0) else weight.T)
    bias = None
    if len(node.inputs) > 2:
        stored = value_of(node.inputs[2])
        if stored is None or stored.size not in (1, len(rows)) or (stored.ndim > 1 and stored.shape[-1] != stored.size):
            return "its bias is no stored vector"
        bias = np.broadcast_to(stored.reshape(-1), (len(rows),)).astype(np.float32)
    return _Product(op="MatMul", rows=rows, shape=rows.shape, geometry={}, bias=bias)


def _extended(found: _Product, node: Any, outputs: set[int], taken: set[int], shapes: Shapes) -> Layer:
    """The product with what follows it: a bias, a residual, bounds."""
    nodes, tensor = [node], node.outputs[0]
    bias, residual, low, high = found.bias, None, -math.inf, math.inf
    reader = _only_reader(tensor, outputs, taken)
    if reader is not None and reader.op == "Add" and found.op == "MatMul" and bias is None:
        rank = len(shapes.get(tensor.name, (0,)))
        added = _vector(value_of(_other(reader, tensor)), len(found.rows), rank)
        if added is not None:
            bias, tensor = added, reader.outputs[0]
            nodes.append(reader)
            reader = _only_reader(tensor, outputs, taken)
    if reader is not None and reader.op == "Add":
        other = _other(reader, tensor)
        known = shapes.get(node.outputs[0].name)
        if other is not tensor and value_of(other) is None and known is not None and shapes.get(other.name) == known:
            residual, tensor = other.name, reader.outputs[0]
            nodes.append(reader)
            reader = _only_reader(tensor, outputs, taken)
    bounds = None if reader is None else _bounds(reader)
    if bounds is not None and reader is not None:
        (low, high), tensor = bounds, reader.outputs[0]
        nodes.append(reader)
    return Layer(
        name=node.name or node.outputs[0].name,
        op=found.op,
        rows=found.rows,
        shape=tuple(found.shape),
        geometry=found.geometry,
        data=node.inputs[0].name,
        output=tensor.name,
        bias=bias,
        residual=residual,
        low=low,
        high=high,
        nodes=tuple(nodes),
    )


def _only_reader(tensor: Any, outputs: set[int], taken: set[int]) -> Any | None:
    """The one node that reads a tensor, if nothing else does and no other layer has it."""
    if id(tensor) in outputs or len(tensor.outputs) != 1:
        return None
    reader = tensor.outputs[0]
    return None if reader.domain or id(reader) in taken else reader


def _other(node: Any, tensor: Any) -> Any:
    """The other operand of an Add."""
    return node.inputs[1] if node.inputs[0] is tensor else node.inputs[0]


def _vector(value: NDArray[Any] | None, size: int, rank: int) -> _Floats | None:
    """A bias that is added along the last of `rank` axes; None for other shapes, and for one that adds an axis."""
    if value is None or value.dtype != np.float32 or value.size != size or not 1 <= value.ndim <= rank:
        return None
    if value.shape[-1] != size:
        return None
    return np.ascontiguousarray(value.reshape(-1))


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
