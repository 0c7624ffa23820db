"""Poolings: local ones in one to three dimensions, and global ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from domino_onnx.bridge.ops.window import Window, pad_spatial
from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()

Ints = tuple[int, ...]

_MAX: Mapping[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: Mapping[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@op("MaxPool", fixed={"storage_order": 0})
def max_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Return the maximum of each window; padding never wins."""
    dtype = x.dtype
    x = x if dtype.is_floating_point else x.to(torch.float64)  # torch pools no integers
    window = Window.resolve(
        x.shape[2:], kernel_shape, strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad
    )
    end = _end(window, x, ceil_mode)
    padding = window.begin
    if window.begin != end or any(2 * pad > k for pad, k in zip(padding, window.kernel, strict=True)):
        x, padding = pad_spatial(x, window.begin, end, value=-torch.inf), (0,) * len(end)
    pool = _MAX[len(window.kernel)]
    return pool(x, window.kernel, window.strides, padding, window.dilations).to(dtype)


@op("AveragePool")
def average_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Return the mean of each window; padding counts only if `count_include_pad`."""
    window = Window.resolve(
        x.shape[2:], kernel_shape, strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad
    )
    end = _end(window, x, ceil_mode)
    if not any(window.begin) and not any(end):
        return _window_mean(x, window)
    counted = torch.ones_like(x[:1, :1])
    if count_include_pad:
        counted = pad_spatial(counted, window.begin, window.end, value=1.0)
        beyond = [e - own for e, own in zip(end, window.end, strict=True)]
        counted = pad_spatial(counted, (0,) * len(end), beyond)
    else:
        counted = pad_spatial(counted, window.begin, end)
    return _window_mean(pad_spatial(x, window.begin, end), window) / _window_mean(counted, window)


@op("LpPool", since=2)
def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    p: int = 2,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Return the p-norm of each window."""
    window = Window.resolve(
        x.shape[2:], kernel_shape, strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad
    )
    powers = pad_spatial(x.abs() ** p, window.begin, _end(window, x, ceil_mode))
    sums = _window_mean(powers, window) * torch.Size(window.kernel).numel()
    empty = sums == 0  # the root's gradient there is NaN
    return (sums.masked_fill(empty, 1.0) ** (1 / p)).masked_fill(empty, 0.0)


def _end(window: Window, x: Tensor, ceil_mode: int) -> Ints:
    """Return the padding at the end, with what the last windows need when their number is rounded up."""
    if not ceil_mode:
        return window.end
    return tuple(e + more for e, more in zip(window.end, window.ceil_excess(x.shape[2:]), strict=True))


def _window_mean(x: Tensor, window: Window) -> Tensor:
    """Return the mean of each window of a padded input; torch's own pooling knows no dilation."""
    rank = len(window.kernel)
    if set(window.dilations) == {1}:
        return _AVERAGE[rank](x, window.kernel, window.strides)
    for axis, (reach, stride) in enumerate(zip(window.reach, window.strides, strict=True)):
        x = x.unfold(2 + axis, reach, stride)
    for axis, dilation in enumerate(window.dilations):
        steps = torch.arange(0, x.shape[axis - rank], dilation, device=x.device)
        x = x.index_select(axis - rank, steps)
    return x.mean(tuple(range(-rank, 0)))


@op("GlobalAveragePool")
def global_average_pool(x: Tensor) -> Tensor:
    """Return the mean of each channel."""
    return x.mean(_spatial(x), keepdim=True)


@op("GlobalMaxPool")
def global_max_pool(x: Tensor) -> Tensor:
    """Return the maximum of each channel."""
    return x.amax(_spatial(x), keepdim=True)


@op("GlobalLpPool", since=2)
def global_lp_pool(x: Tensor, *, p: int = 2) -> Tensor:
    """Return the p-norm of each channel."""
    norm: Tensor = torch.linalg.vector_norm(x, p, _spatial(x), keepdim=True)
    return norm


def _spatial(x: Tensor) -> Ints:
    return tuple(range(2, x.dim()))
