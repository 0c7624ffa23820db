"""Reductions along axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()

Axes = tuple[int, ...]
Reduction = Callable[[Tensor, Axes, bool], Tensor]


def _sum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return torch.sum(x, axes, keepdim=keep, dtype=x.dtype)


def _mean(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if x.is_floating_point():
        return torch.mean(x, axes, keepdim=keep)
    count = torch.Size(x.shape[axis] for axis in axes).numel()
    return torch.div(_sum(x, axes, keep), count, rounding_mode="trunc")


def _prod(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
    return x


def _l1(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return _sum(x.abs(), axes, keep)


def _l2(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    if not x.is_floating_point():
        return torch.sqrt(_sum_square(x, axes, keep))
    norm: Tensor = torch.linalg.vector_norm(x, 2, axes, keepdim=keep)  # the root's gradient at 0 is NaN, this one's 0
    return norm


def _log_sum(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return torch.log(_sum(x, axes, keep))


def _log_sum_exp(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return torch.logsumexp(x, axes, keepdim=keep)


def _sum_square(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return _sum(x * x, axes, keep)


def _max(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return torch.amax(_padded_if_empty(x, axes, -torch.inf), axes, keepdim=keep)


def _min(x: Tensor, axes: Axes, keep: bool) -> Tensor:
    return torch.amin(_padded_if_empty(x, axes, torch.inf), axes, keepdim=keep)


def _padded_if_empty(x: Tensor, axes: Axes, neutral: float) -> Tensor:
    """Give an axis without elements one neutral element, for torch has no maximum of nothing."""
    if all(x.shape[axis] for axis in axes):
        return x
    reduced = {axis % x.dim() for axis in axes}
    shape = [max(size, 1) if axis in reduced else size for axis, size in enumerate(x.shape)]
    if x.is_floating_point():
        return x.new_full(shape, neutral)
    return x.new_full(shape, neutral > 0 if x.dtype == torch.bool else _integer_limit(x.dtype, neutral))


def _integer_limit(dtype: torch.dtype, sign: float) -> int:
    limits = torch.iinfo(dtype)
    return limits.max if sign > 0 else limits.min


_REDUCTIONS: Mapping[str, Reduction] = {
    "ReduceL1": _l1,
    "ReduceL2": _l2,
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": _max,
    "ReduceMean": _mean,
    "ReduceMin": _min,
    "ReduceProd": _prod,
    "ReduceSum": _sum,
    "ReduceSumSquare": _sum_square,
}


def _register(name: str, reduction: Reduction, axes_input_since: int) -> None:
    """Register a reduction twice: axes are an attribute first and an input later."""

    @op(name)
    def by_attribute(x: Tensor, *, axes: Axes | None = None, keepdims: int = 1) -> Tensor:
        return reduction(x, tuple(range(x.dim())) if axes is None else tuple(axes), bool(keepdims))

    @op(name, since=axes_input_since, host=(1,))
    def by_input(x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        if axes is None or axes.numel() == 0:
            return x if noop_with_empty_axes else by_attribute(x, keepdims=keepdims)
        return by_attribute(x, axes=tuple(axes.tolist()), keepdims=keepdims)


for _name, _reduction in _REDUCTIONS.items():
    _register(_name, _reduction, axes_input_since=13 if _name == "ReduceSum" else 18)
