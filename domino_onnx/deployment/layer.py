"""A product with a stored weight, and what joins in behind it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.deployment.activations import Activation
from domino_onnx.deployment.grids import FileValue

__all__ = ["IntegerRows", "Kept", "Layer", "Product", "Shapes"]

_FEWEST_ZEROS = 0.4
"""Below this share of zeros no layer was ever faster by itself (benchmarks/cpu.py)."""

Shapes = Mapping[str, tuple[int, ...]]
"""Of activations, as far as they were seen in a run."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegerRows:
    """Rows as the file stores them: int8, with a scale for each output."""

    rows: NDArray[np.int8]
    scales: NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Product:
    """What a node multiplies with.

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
    bias
        (outputs,).
    integers
        The rows in 8 bits, where the file has them so.
    """

    op: str
    rows: NDArray[np.float32]
    shape: tuple[int, ...]
    geometry: Mapping[str, Any]
    bias: NDArray[np.float32] | None
    integers: IntegerRows | None = None

    @property
    def zeros(self) -> float:
        """Share of the weights that are zero."""
        return 1 - int(np.count_nonzero(self.rows)) / self.rows.size

    @property
    def skips(self) -> bool:
        """Whether there are zeros to gain by. Other layers are deployed for what their neighbours gain."""
        return self.zeros >= _FEWEST_ZEROS and not (self.op == "Conv" and self.shape[1] == 1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer(Product):
    """One product, with the scale, bias, residual, bounds or activation behind it.

    Attributes
    ----------
    data, residual, output
        Names of activations. The residual is added before the bounds or the activation.
    activation
        What comes last; None where there are bounds.
    mean
        (groups, columns): the mean of what each weight multiplies with, where samples told.
    rank
        Of the product; 0 where it isn't known.
    file
        What it reads and gives, by name, where the file itself holds all of that in 8 bits.
    nodes
        The graph's nodes that it replaces, the product first.
    """

    name: str
    data: str
    output: str
    residual: str | None = None
    low: float = -math.inf
    high: float = math.inf
    activation: Activation | None = None
    mean: NDArray[np.float64] | None = None
    rank: int = 0
    file: Mapping[str, FileValue] | None = None
    nodes: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A node that stays as it is, and why."""

    name: str
    op: str
    reason: str
