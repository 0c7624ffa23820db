"""What a model wants to be given, and how many classes it tells apart."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from domino_onnx.errors import DataError
from domino_onnx.graph import Axes, declared_axes, model_inputs, sizes_of_names

__all__ = ["InputSpec", "class_count", "input_specs", "with_shapes"]

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What a model input wants.

    Attributes
    ----------
    axes
        The sizes and names of the axes, as the model declares them; None where their number is unknown.
    """

    name: str
    dtype: np.dtype[Any]
    axes: Axes | None

    @property
    def shape(self) -> tuple[int | None, ...] | None:
        """The sizes, None for axes that are free."""
        return None if self.axes is None else tuple(axis if isinstance(axis, int) else None for axis in self.axes)

    def may_equal(self, other: InputSpec) -> bool:
        """Whether one array can be given to both."""
        if self.dtype != other.dtype:
            return False
        if self.shape is None or other.shape is None:
            return True
        pairs = itertools.zip_longest(self.shape, other.shape, fillvalue=-1)
        return all(one == two or (None in (one, two) and -1 not in (one, two)) for one, two in pairs)

    def __str__(self) -> str:
        sizes = ",".join("?" if size is None else str(size) for size in self.shape or ())
        shape = "any shape" if self.shape is None else sizes or "one number"
        return f"{self.name} ({self.dtype}: {shape})"


def with_shapes(specs: Sequence[InputSpec], shapes: Mapping[str, Sequence[int]]) -> list[InputSpec]:
    """The same inputs with these shapes; in others, an axis of a name that those tell the size of has that size."""
    told = sizes_of_names({spec.name: spec.axes for spec in specs}, shapes)

    def axes(spec: InputSpec) -> Axes | None:
        if spec.name in shapes or spec.axes is None:
            return tuple(shapes[spec.name]) if spec.name in shapes else None
        return tuple(told.get(axis, axis) if isinstance(axis, str) else axis for axis in spec.axes)

    return [dataclasses.replace(spec, axes=axes(spec)) for spec in specs]


def input_specs(model: ModelProto) -> list[InputSpec]:
    """The inputs a caller must give. Raises DataError for inputs that aren't tensors."""
    specs = []
    for value in model_inputs(model):
        if not value.type.HasField("tensor_type"):
            raise DataError(f"input {value.name!r} is not a tensor; data can't be given for it")
        kind = value.type.tensor_type.elem_type
        if kind in (TensorProto.UNDEFINED, TensorProto.STRING):
            raise DataError(f"input {value.name!r} doesn't hold numbers; data can't be given for it")
        if kind not in TensorProto.DataType.values():
            raise DataError(f"input {value.name!r} has the unknown data type {kind}; data can't be given for it")
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
        specs.append(InputSpec(name=value.name, dtype=dtype, axes=declared_axes(value)))
    return specs


def class_count(model: ModelProto) -> int | None:
    """The most classes that an output of (batch, classes) may tell apart; None if a declared shape leaves that open."""
    counts = []
    for value in model.graph.output:
        tensor = value.type.tensor_type
        if tensor.elem_type not in _FLOATS:
            continue
        if not tensor.HasField("shape"):
            return None
        axes = tensor.shape.dim
        if len(axes) == 2 and axes[1].dim_value != 1:
            counts.append(axes[1].dim_value)
    return max(counts) if counts and all(counts) else None
