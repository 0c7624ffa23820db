"""Which numbers can a stored weight hold: those of a float type, or whole multiples of DequantizeLinear's scales?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.graph.io.tensors import FLOAT_TYPES, INTEGER_TYPES, dtype_name
from domino_onnx.graph.values import Scaling, Stored
from domino_onnx.scheme import StoredNumbers

__all__ = ["grid_of"]


def grid_of(file: OnnxFile, weight: Stored) -> StoredNumbers | str:
    """The grid of a weight in which a zero is a zero, or the reason why it has none.

    Raises
    ------
    ModelError
        If scales or zero points can't be read.
    """
    kind, name = weight.tensor.data_type, dtype_name(weight.tensor)
    if weight.scaling is None:
        plain = f"its values are {name}; float32, float16, bfloat16 and float64 are pruned"
        return StoredNumbers(name) if kind in FLOAT_TYPES else plain
    if kind not in INTEGER_TYPES:
        return f"its values are {name}; behind DequantizeLinear, {' and '.join(INTEGER_TYPES.values())} are pruned"
    if weight.scaling.block:
        return (
            f"DequantizeLinear has a scale for each {weight.scaling.block} of its values: only whole channels share one"
        )
    if weight.scaling.zero_point is not None and np.any(file.array(weight.scaling.zero_point)):
        return "DequantizeLinear has a zero point other than 0 for it, so that an integer 0 is no zero"
    scale = _broadcastable_scale(file, weight.tensor, weight.scaling)
    if scale is None or not np.all(np.isfinite(scale)):
        return "DequantizeLinear has scales for it that don't fit its shape, or aren't finite"
    return StoredNumbers(name, scale)


def _broadcastable_scale(file: OnnxFile, weight: TensorProto, scaling: Scaling) -> NDArray[np.float32] | None:
    """(...) that broadcasts to the weight's shape: one scale, or one for each place on an axis."""
    scale = file.array(scaling.scale).astype(np.float32)
    if scale.size == 1:
        return scale.reshape(())
    if scaling.axis is None or scale.shape != (weight.dims[scaling.axis],):
        return None
    return scale.reshape([-1 if axis == scaling.axis else 1 for axis in range(len(weight.dims))])
