"""What does a tensor of a graph hold, as it is stored, or as DequantizeLinear makes it of stored integers?"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from domino_onnx.deployment.surgeon import require_surgeon

__all__ = ["Integers", "grid_scale", "integers_of", "stored_of", "value_of"]

_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Integers:
    """Stored integers, and what DequantizeLinear subtracts from them and multiplies them with.

    `scales` and `zero_points` broadcast to `integers`.
    """

    integers: NDArray[Any]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int32]

    @property
    def floats(self) -> NDArray[np.float32]:
        """The values that DequantizeLinear makes."""
        return ((self.integers - self.zero_points).astype(np.float32) * self.scales).astype(np.float32)


def stored_of(tensor: Any) -> NDArray[Any] | None:
    """The values of a stored tensor: an initializer, or the output of a Constant node; None for others."""
    surgeon = require_surgeon()
    if isinstance(tensor, surgeon.Constant):
        return np.asarray(tensor.values)
    if len(tensor.inputs) == 1 and tensor.inputs[0].op == "Constant":
        stored = tensor.inputs[0].attrs.get("value")
        return np.asarray(stored.values) if isinstance(stored, surgeon.Constant) else None
    return None


def value_of(tensor: Any) -> NDArray[Any] | None:
    """The same, and float32 where DequantizeLinear makes it of stored integers."""
    stored = stored_of(tensor)
    if stored is not None:
        return stored
    found = integers_of(tensor)
    return None if found is None else found.floats


def integers_of(tensor: Any) -> Integers | None:
    """The stored integers that DequantizeLinear makes a tensor of; None for other tensors, and for blocks of scales.

    Where QuantizeLinear makes the integers of stored floats, these are what it makes.
    """
    node = tensor.inputs[0] if len(tensor.inputs) == 1 else None
    if node is None or node.domain or node.op != "DequantizeLinear":
        return None
    integers = stored_of(node.inputs[0])
    integers = _quantized(node.inputs[0]) if integers is None else integers
    if integers is None or integers.dtype.name not in _INTEGERS:
        return None
    scaling = _scaling(node, integers.shape)
    return None if scaling is None else Integers(integers=integers, scales=scaling[0], zero_points=scaling[1])


def _quantized(tensor: Any) -> NDArray[Any] | None:
    """What QuantizeLinear makes of stored floats, in 8 bits; None for other tensors."""
    node = tensor.inputs[0] if len(tensor.inputs) == 1 else None
    if node is None or node.domain or node.op != "QuantizeLinear":
        return None
    floats, kind = stored_of(node.inputs[0]), _kind(node)
    scaling = None if floats is None or floats.dtype != np.float32 else _scaling(node, floats.shape)
    if floats is None or kind is None or scaling is None or (scaling[0] == 0).any():
        return None
    limits = np.iinfo(kind)
    return np.clip(np.rint(floats / scaling[0]) + scaling[1], limits.min, limits.max).astype(kind)


def _scaling(node: Any, shape: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.int32]] | None:
    """Scales and zero points of a QuantizeLinear or DequantizeLinear, which broadcast to the shape."""
    scales = stored_of(node.inputs[1])
    zero_points = _zero_points(node, scales)
    if scales is None or zero_points is None or node.attrs.get("block_size", 0):
        return None
    if scales.dtype != np.float32 or not np.isfinite(scales).all():
        return None
    axis, along = node.attrs.get("axis", 1), [1] * len(shape)
    if scales.size != 1:
        if not -len(shape) <= axis < len(shape) or scales.shape != (shape[axis],):
            return None
        along[axis] = -1
    return scales.reshape(along), zero_points.reshape(along)


def grid_scale(node: Any) -> tuple[float, int, bool] | None:
    """Scale, zero point and whether bytes are signed, of a QuantizeLinear or DequantizeLinear.

    None if they differ along an axis, are computed, or aren't of 8 bits.
    """
    if node.domain or len(node.inputs) < 2:
        return None
    scale = stored_of(node.inputs[1])
    zero_point = _zero_points(node, scale)
    if scale is None or zero_point is None or scale.size != 1 or scale.dtype != np.float32:
        return None
    value = float(scale.reshape(-1)[0])
    kind = _kind(node)
    if not 0 < value < np.inf or kind is None:
        return None
    return value, int(zero_point.reshape(-1)[0]), kind == np.int8


def _kind(node: Any) -> np.dtype[Any] | None:
    """The type of 8 bits that a QuantizeLinear makes or a DequantizeLinear reads; None for others, or if unknown."""
    found = _type_of_zero_point(node) if _has_zero_point(node) else _type_without(node)
    return found if found is not None and found.name in ("int8", "uint8") else None


def _type_of_zero_point(node: Any) -> np.dtype[Any] | None:
    stored = stored_of(node.inputs[2])
    return None if stored is None else stored.dtype


def _type_without(node: Any) -> np.dtype[Any] | None:
    """The type where there is no zero point: QuantizeLinear makes uint8 unless an attribute says another one."""
    if node.op == "QuantizeLinear":
        wanted = node.attrs.get("output_dtype", 0)
        return np.dtype(helper.tensor_dtype_to_np_dtype(wanted)) if wanted else np.dtype(np.uint8)
    integers = node.inputs[0]
    made = integers.inputs[0] if integers.inputs else None
    if made is not None and made.op == "QuantizeLinear" and not made.domain:
        return _kind(made)
    return integers.dtype if isinstance(integers.dtype, np.dtype) else None


def _has_zero_point(node: Any) -> bool:
    return len(node.inputs) > 2 and not node.inputs[2].is_empty()


def _zero_points(node: Any, scales: NDArray[Any] | None) -> NDArray[np.int32] | None:
    """Of the shape of the scales; None where they are computed, or have another shape."""
    if scales is None:
        return None
    if not _has_zero_point(node):
        return np.zeros(scales.shape, np.int32)
    stored = stored_of(node.inputs[2])
    return None if stored is None or stored.size != scales.size else stored.astype(np.int32).reshape(scales.shape)
