"""Tensors out of nothing: constants, ranges, filled shapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from domino_onnx.bridge.registry import Family
from domino_onnx.bridge.values import element_type

__all__ = ["op"]

op = Family()


@op("Constant")
def constant(
    *,
    value: Tensor | None = None,
    sparse_value: Tensor | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
) -> Tensor:
    """Return the one value that is given; a list is a vector, a number a tensor of rank 0."""
    tensor = value if value is not None else sparse_value
    if tensor is not None:
        return tensor
    integers = value_int if value_int is not None else value_ints
    if integers is not None:
        return torch.tensor(integers, dtype=torch.int64)
    return torch.tensor(value_float if value_float is not None else value_floats, dtype=torch.float32)


@op("ConstantOfShape", since=9, host=(0,))
def constant_of_shape(shape: Tensor, *, value: Tensor | None = None) -> Tensor:
    """Return a tensor of a shape, filled with one value (a float 0 by default)."""
    value = torch.zeros(1) if value is None else value
    return torch.full(shape.tolist(), value.item(), dtype=value.dtype)


@op("Range", since=11, host=(0, 1, 2))
def arange(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """Count from `start` to before `limit`."""
    count = max(-int(-(limit.double() - start.double()) // delta.double()), 0)
    return start + torch.arange(count, dtype=start.dtype) * delta


@op("EyeLike", since=9)
def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """Return ones on the diagonal `k` of a matrix shaped like `x`."""
    kind = x.dtype if dtype is None else element_type(dtype)
    ones = torch.ones(x.shape, dtype=torch.bool, device=x.device)
    return (torch.tril(ones, k) & torch.triu(ones, k)).to(kind)


@op("OneHot", since=9, host=(1,))
def one_hot(indices: Tensor, depth: Tensor, values: Tensor, *, axis: int = -1) -> Tensor:
    """Return `values[1]` at each index of a new axis of size `depth`, and `values[0]` elsewhere."""
    size = int(depth)
    axis = axis + indices.dim() + 1 if axis < 0 else axis
    classes = torch.arange(size, device=indices.device)
    wanted = indices.to(torch.int64)
    wanted = torch.where((wanted < 0) & (wanted >= -size), wanted + size, wanted).unsqueeze(axis)
    hot = wanted == classes.reshape([-1] + [1] * (indices.dim() - axis))
    return torch.where(hot, values[1], values[0])
