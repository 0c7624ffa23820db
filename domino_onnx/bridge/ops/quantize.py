"""Quantisation to integers and 8-bit floats, and back.

Integers carry no gradient in torch. So where a DequantizeLinear reads a QuantizeLinear directly, the compiler
makes the pair one :data:`FAKE_QUANTIZE`, whose gradient is the straight-through estimate: 1 where nothing was
clipped (Bengio, Léonard and Courville, arXiv:1308.3432).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from domino_onnx.bridge.registry import Family, merge
from domino_onnx.bridge.values import element_type

__all__ = ["FAKE_QUANTIZE", "op"]

op = Family()


@op("QuantizeLinear", since=10, ignored=("precision",))
def quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    saturate: int = 1,
) -> Tensor:
    """round(x / scale) + zero point, kept in the range of the type; per tensor, axis or block."""
    del saturate  # out of range is undefined without it
    dtype = _quantized_type(zero_point, output_dtype)
    levels = _steps(x, scale, axis, block_size)
    if not dtype.is_floating_point:
        levels = torch.round(levels)
    if zero_point is not None:
        levels = levels + _spread(zero_point.to(torch.float32), x, axis, block_size)
    return levels.clamp(*_range(dtype)).to(dtype)


@op("DequantizeLinear", since=10)
def dequantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """(x - zero point) scale; per tensor, axis or block."""
    dtype = element_type(output_dtype) if output_dtype else scale.dtype
    levels = x.to(torch.float32)
    if zero_point is not None:
        levels = levels - _spread(zero_point.to(torch.float32), x, axis, block_size)
    return (levels * _spread(scale, x, axis, block_size).to(torch.float32)).to(dtype)


@op("DynamicQuantizeLinear", since=11, outputs=3)
def dynamic_quantize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantise to uint8 with the scale and zero point that the tensor's own range asks for."""
    low, high = x.min().clamp(max=0.0), x.max().clamp(min=0.0)
    scale = (high - low) / 255
    zero_point = torch.round((-low / scale).clamp(0, 255)).to(torch.uint8)
    return quantize(x, scale, zero_point), scale, zero_point


def _steps(x: Tensor, scale: Tensor, axis: int, block_size: int) -> Tensor:
    """How many steps of the scale x is, in float32."""
    return x.to(torch.float32) / _spread(scale, x, axis, block_size).to(torch.float32)


def _spread(parameter: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """Broadcast a scale or zero point to `x`: for all, a slice of `axis`, or a block of slices."""
    if parameter.numel() == 1 and not block_size:
        return parameter.reshape(())
    if block_size:
        return parameter.repeat_interleave(block_size, axis).narrow(axis, 0, x.shape[axis])
    return parameter.reshape([-1 if number == axis % x.dim() else 1 for number in range(x.dim())])


def _quantized_type(zero_point: Tensor | None, output_dtype: int) -> torch.dtype:
    if zero_point is not None:
        return zero_point.dtype
    return element_type(output_dtype) if output_dtype else torch.uint8


def _range(dtype: torch.dtype) -> tuple[float, float]:
    limits = torch.finfo(dtype) if dtype.is_floating_point else torch.iinfo(dtype)
    return limits.min, limits.max


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, kept: Tensor) -> Tensor:
        del x  # only its gradient matters
        ctx.save_for_backward(kept)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return gradients[0] * kept, None, None


_fused = Family("domino_onnx")


@_fused("FakeQuantize", host=())
def fake_quantize(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    scale_back: Tensor,
    zero_point_back: Tensor | None = None,
    *,
    quantizing: Mapping[str, Any],
    dequantizing: Mapping[str, Any],
) -> Tensor:
    """QuantizeLinear and DequantizeLinear in one, with a gradient."""
    with torch.no_grad():
        q = quantize(x, scale, zero_point, **quantizing)
        y = dequantize(q, scale_back, zero_point_back, **dequantizing)
        kept = _unclipped(x, scale, zero_point, **quantizing)
    return _StraightThrough.apply(x, y, kept)  # type: ignore[no-untyped-call, no-any-return]


def _unclipped(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    **_: Any,
) -> Tensor:
    """Which elements are in the range of the type, or beyond it by one step at most."""
    levels = _steps(x, scale, axis, block_size)
    if zero_point is not None:
        levels = levels + _spread(zero_point.to(torch.float32), x, axis, block_size)
    low, high = _range(_quantized_type(zero_point, output_dtype))
    return (levels >= low - 1) & (levels <= high + 1)


(FAKE_QUANTIZE,) = merge([_fused])["domino_onnx", "FakeQuantize"]
