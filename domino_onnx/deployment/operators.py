"""How is a layer written as a node: of standard operators, or of the domain `domino_onnx` (docs/cpu.md)?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from domino_onnx.deployment.grids import Grid
from domino_onnx.deployment.layer import Layer
from domino_onnx.graph.io.listed import unlist_constants
from domino_onnx.storage.packing import pack

__all__ = [
    "DOMAIN",
    "DOMAIN_VERSION",
    "Kind",
    "Written",
    "import_operators",
    "is_deployed",
    "operators_of",
    "quantized_rows",
    "written",
]

DOMAIN, DOMAIN_VERSION = "domino_onnx", 1
Kind = Literal["dense", "float32", "int8", "quantized"]
"""As it was, or by an operator that skips zeros: with weights in float32 or in int8, or quantised as the file is."""
_LEVELS = 127


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A node: its operator, inputs and attributes.

    Attributes
    ----------
    inputs
        Names of activations, ``""`` for none, and arrays that the file is to store, in the operator's order.
    """

    op: str
    inputs: tuple[str | NDArray[Any], ...]
    attributes: Mapping[str, Any]


def is_deployed(model: ModelProto) -> bool:
    """Whether a file was written by `deploy`, so that its weights are in operators of our own."""
    return any(opset.domain == DOMAIN for opset in model.opset_import)


def import_operators(model: ModelProto) -> None:
    """Let a model import the domain of the operators, once, where its graph has some.

    The first IR versions want all that is stored among the inputs. A model of those becomes one of the next.
    """
    if not is_deployed(model) and any(node.domain == DOMAIN for node in model.graph.node):
        unlist_constants(model)
        model.opset_import.append(helper.make_opsetid(DOMAIN, DOMAIN_VERSION))


def operators_of(layer: Layer, grids: Mapping[str, Grid] | None) -> tuple[Kind, ...]:
    """The kinds that there are for a layer besides dense.

    Parameters
    ----------
    grids
        Of activations, which a convolution in int8 needs; None where no layer gets 8 bits.
    """
    if layer.file is not None:
        return ("quantized",)
    if grids is None:
        return ("float32",)
    known = layer.op == "MatMul" or {layer.data, layer.output, *filter(None, [layer.residual])} <= grids.keys()
    return ("float32", "int8") if known else ("float32",)


def written(layer: Layer, kind: Kind, grids: Mapping[str, Grid]) -> Written:
    """The node of the domain `domino_onnx` that computes a layer; names are those of the layer's activations."""
    if kind == "quantized" and layer.file is not None:
        return _bytes_to_bytes(layer, {name: value.grid for name, value in layer.file.items()})
    if kind == "int8" and layer.op == "Conv":
        return _bytes_to_bytes(layer, grids)
    rows, scales = (layer.rows, None) if kind == "float32" else _integer_rows(layer)
    packed, grouping = _packed(rows)
    behind = {name: bound for name, bound in (("min", layer.low), ("max", layer.high)) if math.isfinite(bound)}
    if layer.activation is not None:
        behind = layer.activation.attributes
    exact: NDArray[Any] | None = layer.bias
    if scales is not None:
        exact = _corrected_bias(layer, rows, scales)
    bias: str | NDArray[Any] = "" if exact is None else exact.astype(np.float32)
    return Written(
        op=f"Nm{layer.op}" + ("" if scales is None else "Int8"),
        inputs=_without_end([layer.data, *packed, *([] if scales is None else [scales]), bias, layer.residual or ""]),
        attributes={"weight_shape": list(layer.shape), **layer.geometry, **grouping, **behind},
    )


def _bytes_to_bytes(layer: Layer, grids: Mapping[str, Grid]) -> Written:
    """A convolution of bytes: all scales and zero points become one scale and one offset for each output.

    A matrix is a convolution of one place: its inputs are the channels of as many axes in space as X has others.
    """
    rows, weight_scales = _integer_rows(layer)
    x, y = grids[layer.data], grids[layer.output]
    if layer.activation is None:
        unit, zero, behind = y.scale, y.zero_point, {"min": y.byte(layer.low), "max": y.byte(layer.high)}
    else:  # it takes real values, and gives them on the grid
        unit, zero, how = 1.0, 0, layer.activation
        behind = {**how.attributes, "gain": how.gain / y.scale, "shift": how.shift / y.scale + y.zero_point}
    scales = weight_scales.astype(np.float64) * x.scale / unit
    sums = rows.reshape(len(rows), -1).sum(axis=1, dtype=np.int64)
    bias = _corrected_bias(layer, rows, weight_scales)
    if bias is None:
        bias = np.zeros(len(rows))
    offsets = bias / unit + zero - x.zero_point * sums * scales
    shape, geometry = list(layer.shape), layer.geometry
    if layer.op == "MatMul":
        shape, geometry = [*shape, *[1] * max(layer.rank - 2, 1)], {"group": 1}
    attributes: dict[str, Any] = {"weight_shape": shape, **geometry, "x_zero_point": x.zero_point}
    if layer.residual:
        residual = grids[layer.residual]
        attributes["residual_scale"] = residual.scale / unit
        offsets -= residual.zero_point * residual.scale / unit
    packed, grouping = _packed(rows)
    inputs = [layer.data, *packed, scales.astype(np.float32), offsets.astype(np.float32), layer.residual or ""]
    return Written(op="NmConvInt8", inputs=_without_end(inputs), attributes={**attributes, **grouping, **behind})


def _corrected_bias(layer: Layer, rows: NDArray[Any], scales: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """The bias, less what rounding the weights adds to the outputs on average; None where there is neither."""
    if layer.mean is None:
        return None if layer.bias is None else layer.bias.astype(np.float64)
    by_output = (len(rows), *[1] * (rows.ndim - 1))
    errors = (rows * scales.reshape(by_output).astype(np.float64) - layer.rows).reshape(
        len(layer.mean), -1, layer.mean.shape[1]
    )
    shift: NDArray[np.float64] = np.einsum("gok,gk->go", errors, layer.mean).reshape(-1)
    return -shift if layer.bias is None else layer.bias.astype(np.float64) - shift


def _integer_rows(layer: Layer) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Those of the file, where it has some."""
    if layer.integers is not None:
        return layer.integers.rows, layer.integers.scales
    return quantized_rows(layer.rows)


def quantized_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers, and the scale of each output: its largest magnitude becomes 127."""
    flat = rows.reshape(len(rows), -1)
    largest = np.abs(flat).max(axis=1)
    scales = np.where(largest > 0, largest / _LEVELS, 1).astype(np.float32)
    return np.rint(flat / scales[:, None]).astype(np.int8).reshape(rows.shape), scales


def _packed(rows: NDArray[Any]) -> tuple[list[NDArray[Any]], dict[str, int]]:
    packed = pack(rows, axis=-1)  # the operators read groups of inputs, never of outputs
    grouping = packed.grouping
    return [packed.values, packed.codes], {"m": 0} if grouping is None else {"m": grouping.m, "digits": grouping.digits}


def _without_end(inputs: list[str | NDArray[Any]]) -> tuple[str | NDArray[Any], ...]:
    """Without the absent inputs at the end."""
    while isinstance(inputs[-1], str) and not inputs[-1]:
        inputs.pop()
    return tuple(inputs)
