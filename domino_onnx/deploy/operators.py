"""How is a layer written as a node: of standard operators, or of the domain `domino_onnx` (docs/cpu.md)?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domino_onnx.deploy.layers import Layer
from domino_onnx.storage.packing import pack

__all__ = ["DOMAIN", "Kind", "Written", "operators_of", "written"]

DOMAIN, DOMAIN_VERSION = "domino_onnx", 1
Kind = Literal["dense", "float32", "int8"]
"""As it was, or by an operator that skips zeros, with weights in float32 or in int8."""
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


def operators_of(layer: Layer, *, int8: bool) -> tuple[Kind, ...]:
    """The kinds that there are for a layer besides dense."""
    return ("float32", "int8") if int8 and layer.op == "MatMul" else ("float32",)


def written(layer: Layer, kind: Kind) -> Written:
    """The node of the domain `domino_onnx` that computes a layer."""
    rows, scales = (layer.rows, None) if kind == "float32" else _quantized(layer.rows)
    packed = pack(rows)
    grouping = {"m": 0} if packed.grouping is None else {"m": packed.grouping.m, "digits": packed.grouping.digits}
    bounds = {name: bound for name, bound in (("min", layer.low), ("max", layer.high)) if math.isfinite(bound)}
    bias: str | NDArray[Any] = "" if layer.bias is None else layer.bias
    inputs = [
        layer.data,
        packed.values,
        packed.codes,
        *([] if scales is None else [scales]),
        bias,
        layer.residual or "",
    ]
    while isinstance(inputs[-1], str) and not inputs[-1]:
        inputs.pop()
    return Written(
        op=f"Nm{layer.op}" + ("" if scales is None else "Int8"),
        inputs=tuple(inputs),
        attributes={"weight_shape": list(layer.shape), **layer.geometry, **grouping, **bounds},
    )


def _quantized(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers, and the scale of each row: its largest magnitude becomes 127."""
    largest = np.abs(rows).max(axis=1)
    scales = np.where(largest > 0, largest / _LEVELS, 1).astype(np.float32)
    return np.rint(rows / scales[:, None]).astype(np.int8), scales
