"""Gathering, scattering and searching by index."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()

_SCATTER: Mapping[str, str] = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _wrapped(indices: Tensor, size: int) -> Tensor:
    """Count negative indices from the end."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


@op("Gather")
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Take slices of an axis; the axes of `indices` take its place."""
    axis = axis + x.dim() if axis < 0 else axis
    taken = x.index_select(axis, _wrapped(indices, x.shape[axis]).reshape(-1))
    return taken.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


@op("GatherElements", since=11)
def gather_elements(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """Take one element of an axis for each index."""
    return torch.gather(x, axis, _wrapped(indices, x.shape[axis]))


@op("GatherND", since=11)
def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """Take the slices at coordinates, within each of the leading batch axes."""
    depth = indices.shape[-1]
    batch = x.shape[:batch_dims]
    grid = torch.meshgrid(*(torch.arange(n, device=x.device) for n in batch), indexing="ij") if batch else ()
    inner = (1,) * (indices.dim() - 1 - batch_dims)
    coordinates = [axis.reshape(*axis.shape, *inner) for axis in grid]
    coordinates += [_wrapped(indices[..., i], x.shape[batch_dims + i]) for i in range(depth)]
    return x[tuple(coordinates)]


@op("Scatter", since=9)
def scatter(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0) -> Tensor:
    """Write one element of an axis for each index, into a copy (ScatterElements' name until opset 10)."""
    return torch.scatter(x, axis, _wrapped(indices, x.shape[axis]), updates)


@op("ScatterElements", since=11)
def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none") -> Tensor:
    """Write (or combine) one element of an axis for each index, into a copy."""
    if reduction == "none":
        return scatter(x, indices, updates, axis=axis)
    return torch.scatter_reduce(x, axis, _wrapped(indices, x.shape[axis]), updates, _SCATTER[reduction])


@op("ScatterND", since=11)
def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """Write (or combine) slices at coordinates, into a copy."""
    depth = indices.shape[-1]
    rows, slice_shape = x.shape[:depth].numel(), x.shape[depth:]
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
    for axis in range(depth):
        flat = flat * x.shape[axis] + _wrapped(indices[..., axis], x.shape[axis])
    where = flat.reshape(-1)
    source = updates.reshape(where.numel(), *slice_shape)
    target = x.reshape(rows, *slice_shape)
    if reduction == "none":
        return target.index_put((where,), source).reshape(x.shape)
    where = where.reshape(-1, *(1,) * len(slice_shape)).expand_as(source)
    return torch.scatter_reduce(target, 0, where, source, _SCATTER[reduction]).reshape(x.shape)


def _register_arg(name: str, search: Callable[..., Tensor]) -> None:
    @op(name)
    def arg(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
        if not select_last_index:
            return search(x, dim=axis, keepdim=bool(keepdims))
        return x.shape[axis] - 1 - search(x.flip(axis), dim=axis, keepdim=bool(keepdims))


_register_arg("ArgMax", torch.argmax)
_register_arg("ArgMin", torch.argmin)


@op("TopK", outputs=2)
def top_k_1(x: Tensor, *, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """Return the greatest `k` along an axis and where they are (k as attribute, until opset 9)."""
    return _top(x, k, axis, largest=True)


@op("TopK", since=10, outputs=2, host=(1,))
def top_k_10(x: Tensor, k: Tensor, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Tensor, Tensor]:
    """Return the greatest (or least) `k` along an axis and where they are."""
    del sorted  # sorted is one of the orders that ONNX allows for unsorted
    return _top(x, int(k), axis, largest=bool(largest))


def _top(x: Tensor, k: int, axis: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    # Of equal elements ONNX wants the lower index first: a stable sort gives that, torch.topk doesn't.
    values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k)


@op("NonZero", since=9)
def non_zero(x: Tensor) -> Tensor:
    """Return the coordinates (rank, count) of the elements that are not zero."""
    return torch.nonzero(x).T if x.dim() else torch.zeros((0, int(x != 0)), dtype=torch.int64)


@op("Compress", since=9)
def compress(x: Tensor, condition: Tensor, *, axis: int | None = None) -> Tensor:
    """Keep the slices of an axis (or the elements of the flat tensor) where the condition is true."""
    kept = torch.nonzero(condition).reshape(-1)
    return x.reshape(-1).index_select(0, kept) if axis is None else x.index_select(axis, kept)


@op("ReverseSequence", since=10)
def reverse_sequence(x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0) -> Tensor:
    """Reverse the first `lengths[i]` steps of each batch entry."""
    moved = x.movedim((batch_axis, time_axis), (0, 1))
    steps = torch.arange(moved.shape[1], device=x.device).expand(moved.shape[:2])
    lengths = lengths.to(torch.int64).unsqueeze(1)
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)
    batch = torch.arange(moved.shape[0], device=x.device).unsqueeze(1)
    return moved[batch, source].movedim((0, 1), (batch_axis, time_axis))
