"""A float32 model in float16: ONNX Runtime's converter, and what it leaves to do.

Why this converter: docs/decisions/precision.md.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from domino_onnx.errors import DependencyError, ModelError
from domino_onnx.graph import infer_types, sort_nodes
from domino_onnx.graph.io.listed import replaceable_names
from domino_onnx.graph.walk import tensors
from domino_onnx.precision.distinct import distinct_tensors
from domino_onnx.runtime import require_onnxruntime, require_survivable
from domino_onnx.scheme import WeightKey

__all__ = ["half_refusal", "range_refusal", "require_converter", "to_half"]

_SMALLEST, _LARGEST = 5.96e-08, 65504.0
"""float16's smallest and largest magnitudes: what is nearer to zero than the first goes there, and not to zero."""
_SINCE = 6
_FLOAT32_ONLY = ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear")
"""Operators whose scales stay float32, besides those that have no float16 or lose too much in it."""


def half_refusal(model: ModelProto, opset: int) -> str | None:
    """Why a model can't be converted, as far as a look can tell; None if it may."""
    if opset < _SINCE:
        return f"its opset {opset} casts by another rule; {_SINCE} is the first that can be converted"
    types = {tensor.data_type for tensor in tensors(model)}
    if TensorProto.FLOAT not in types:
        halves = types & {TensorProto.FLOAT16, TensorProto.BFLOAT16}
        return "it is in half precision already" if halves else "it stores no float32 values"
    inputs = replaceable_names(model)
    if all(tensor.name in inputs for tensor in tensors(model) if tensor.data_type == TensorProto.FLOAT):
        return "a caller may replace each of its float32 tensors by a graph input of the same name"
    return None


def range_refusal(key: WeightKey, values: NDArray[np.generic]) -> str | None:
    """Why a weight, whose values are finite, would be cut off by float16's range or lost below it; None if it isn't.

    Tensors that aren't weights are cut off, as masks of attention that mean minus infinity are meant to be.
    """
    largest = float(np.abs(values).max(initial=0))
    if largest > _LARGEST:
        return f"its weight {str(key)!r} holds values up to {largest:.3g}, and float16 ends at {_LARGEST:g}"
    if 0 < largest < _SMALLEST:
        return f"its weight {str(key)!r} has no value above {largest:.3g}, and float16 begins at {_SMALLEST}"
    return None


def require_converter() -> Any:
    """ONNX Runtime's module of the conversion; DependencyError without ONNX Runtime."""
    require_onnxruntime()
    try:
        return importlib.import_module("onnxruntime.transformers.float16")
    except ImportError as error:
        raise DependencyError(
            f"this ONNX Runtime has no converter to float16 ({error}): `pip install -U onnxruntime`"
        ) from None


def to_half(model: ModelProto) -> None:
    """Convert a model whose data are all inline to float16; its inputs and outputs stay as they are. Edits `model`.

    What isn't zero stays so: magnitudes below float16's smallest become that one. Stored tensors keep names and places;
    the nodes of the main graph move, since casts are put between them. Messages are edited, never copied.

    Raises
    ------
    ModelError
        If the converter breaks on the model, or ONNX Runtime can't load what it made, or crashes on it.
    """
    converter = require_converter()
    known = len(model.graph.value_info)
    _add_types(model)
    try:
        with distinct_tensors(model):
            converter.convert_float_to_float16(
                model,
                min_positive_val=_SMALLEST,
                max_finite_val=_LARGEST,
                keep_io_types=True,
                disable_shape_infer=True,
                op_block_list=[*converter.DEFAULT_OP_BLOCK_LIST, *_FLOAT32_ONLY],
            )
        del model.graph.value_info[known:]
        sort_nodes(model.graph)
        require_survivable(model.SerializeToString())
    except (AssertionError, AttributeError, IndexError, KeyError, ModelError, TypeError, ValueError) as error:
        raise ModelError(
            f"the model can't be converted to float16: {str(error) or type(error).__name__}. Leave out the conversion"
        ) from None


def _add_types(model: ModelProto) -> None:
    """Say of what type each tensor is: the converter goes by it. Outputs that don't say so get theirs for good."""
    inferred = {value.name: value for value in infer_types(model)}
    for output in model.graph.output:
        found = inferred.pop(output.name, None)
        if found is not None and not output.type.tensor_type.elem_type:
            output.type.CopyFrom(found.type)
    told = {value.name for value in model.graph.value_info}
    model.graph.value_info.extend(value for name, value in inferred.items() if name not in told)
