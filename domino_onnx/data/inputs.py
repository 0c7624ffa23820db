"""What a model wants to be given, and how many classes it tells apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from domino_onnx.errors import DataError
from domino_onnx.graph import model_inputs

__all__ = ["InputSpec", "class_count", "input_specs"]

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What a model input wants: `shape` has None for axes that are free."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        shape = (
            "any shape" if self.shape is None else ",".join("?" if size is None else str(size) for size in self.shape)
        )
        return f"{self.name} ({self.dtype}: {shape})"


def input_specs(model: ModelProto) -> list[InputSpec]:
    """The inputs a caller must give. Raises DataError for inputs that aren't tensors."""
    specs = []
    for value in model_inputs(model):
        if not value.type.HasField("tensor_type"):
            raise DataError(f"input {value.name!r} is not a tensor; data can't be given for it")
        tensor = value.type.tensor_type
        axes = tensor.shape.dim if tensor.HasField("shape") else None
        shape = None if axes is None else tuple(axis.dim_value if axis.dim_value > 0 else None for axis in axes)
        if tensor.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
            raise DataError(f"input {value.name!r} doesn't hold numbers; data can't be given for it")
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        specs.append(InputSpec(name=value.name, dtype=dtype, shape=shape))
    return specs


def class_count(model: ModelProto) -> int | None:
    """How many classes the first output of (batch, classes) tells apart; None if its declared shape doesn't say."""
    for value in model.graph.output:
        tensor = value.type.tensor_type
        if tensor.elem_type not in _FLOATS:
            continue
        if not tensor.HasField("shape"):
            return None
        axes = tensor.shape.dim
        if len(axes) == 2 and axes[1].dim_value != 1:
            return axes[1].dim_value or None
    return None
