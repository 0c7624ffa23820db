"""Convolutions in one to three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

from domino_onnx.bridge.ops.window import Window, pad_spatial
from domino_onnx.bridge.registry import Family

__all__ = ["convolve", "op"]

op = Family()

Ints = tuple[int, ...]

_CONV: Mapping[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: Mapping[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


@op("Conv", ignored=("kernel_shape",))
def convolve(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Convolve (N, C, spatial...) with (O, C / group, kernel...)."""
    window = Window.resolve(
        x.shape[2:], w.shape[2:], strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad
    )
    padding = window.begin
    if window.begin != window.end or min(window.begin) < 0:
        x, padding = pad_spatial(x, window.begin, window.end), (0,) * len(window.begin)
    convolution = _CONV[w.dim() - 2]
    return convolution(x, w, bias, window.strides, padding, window.dilations, group)


@op("ConvTranspose", ignored=("kernel_shape",))
def convolve_transposed(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    """Convolve transposed (N, C, spatial...) with (C, O / group, kernel...)."""
    rank = w.dim() - 2
    window = Window.resolve(x.shape[2:], w.shape[2:], strides=strides, dilations=dilations, pads=pads)
    extra = tuple(output_padding or (0,) * rank)
    begin, end = window.begin, window.end
    if output_shape or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = output_shape[-rank:] if output_shape else _scaled(x.shape[2:], window.strides)
        full = _full_sizes(x.shape[2:], window)
        begin, end = _cut(full, extra, wanted, upper=auto_pad == "SAME_UPPER")

    convolution = _TRANSPOSED[rank]
    if begin == end and min(begin) >= 0 and all(e < max(s, d) for e, s, d in _rows(extra, window)):
        return convolution(x, w, bias, window.strides, begin, extra, group, window.dilations)
    # What torch can't pad: compute all, cut it, and add the bias last so that added borders have it.
    y = convolution(x, w, None, window.strides, 0, 0, group, window.dilations)
    y = pad_spatial(y, [-n for n in begin], [more - n for more, n in zip(extra, end, strict=True)])
    return y if bias is None else y + bias.reshape(-1, *(1,) * rank)


def _rows(extra: Ints, window: Window) -> zip[tuple[int, int, int]]:
    return zip(extra, window.strides, window.dilations, strict=True)


def _scaled(sizes: Ints, strides: Ints) -> Ints:
    return tuple(size * stride for size, stride in zip(sizes, strides, strict=True))


def _full_sizes(sizes: Ints, window: Window) -> Ints:
    """Return the output's sizes without any padding."""
    return tuple(
        (size - 1) * stride + reach for size, stride, reach in zip(sizes, window.strides, window.reach, strict=True)
    )


def _cut(full: Ints, extra: Ints, wanted: Ints, *, upper: bool) -> tuple[Ints, Ints]:
    """Split what is too much between begin and end, the odd element to the end only for SAME_UPPER.

    What is too little is added (as a negative cut) at the end.
    """
    totals = [size + more - want for size, more, want in zip(full, extra, wanted, strict=True)]
    less = tuple(max(total, 0) // 2 for total in totals)
    begin = less if upper else tuple(max(total, 0) - half for total, half in zip(totals, less, strict=True))
    return begin, tuple(total - start for total, start in zip(totals, begin, strict=True))
