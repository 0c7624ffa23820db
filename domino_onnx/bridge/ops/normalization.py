"""Normalisations, as inference computes them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from domino_onnx.bridge.registry import Family
from domino_onnx.bridge.values import element_type

__all__ = ["layer_normalization", "op", "widened"]

op = Family()


def widened(x: Tensor, stash_type: int = 1) -> Tensor:
    """Convert to the type that statistics are computed in (float32 by default), never to a narrower one."""
    dtype = element_type(stash_type)
    return x.to(dtype) if dtype.itemsize > x.dtype.itemsize else x


@op("BatchNormalization", since=7, fixed={"training_mode": 0}, ignored=("momentum", "spatial"))
def batch_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, epsilon: float = 1e-5
) -> Tensor:
    """Normalise each channel with stored statistics."""
    if scale.dtype == mean.dtype == x.dtype and x.dim() > 1:
        return F.batch_norm(x, mean, var, scale, bias, training=False, eps=epsilon)
    shape = (1, -1, *(1,) * (x.dim() - 2)) if x.dim() > 1 else (1,)
    factor = scale / torch.sqrt(var + epsilon)
    return (x * factor.reshape(shape) + (bias - mean * factor).reshape(shape)).to(x.dtype)


@op("InstanceNormalization", since=6)
def instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """Normalise each channel of each sample with its own statistics."""
    axes = tuple(range(2, x.dim()))
    shape = (1, -1, *(1,) * len(axes))
    return _standardised(x, axes, epsilon) * scale.reshape(shape) + bias.reshape(shape)


# Files in circulation misspell epsilon; ONNX Runtime passes over what it doesn't know and takes the default.
@op("LayerNormalization", since=1, outputs=3, ignored=("epsion",))
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise over the axes from `axis` on, in the precision `stash_type`; also give mean, 1 / deviation.

    The standard has it from opset 17; files of earlier opsets name ONNX Runtime's operator of this form.
    """
    wide = widened(x, stash_type)
    axes = tuple(range(axis % x.dim(), x.dim()))
    mean = wide.mean(axes, keepdim=True)
    inverse = torch.rsqrt((wide - mean).square().mean(axes, keepdim=True) + epsilon)
    y = ((wide - mean) * inverse).to(x.dtype) * scale
    return (y if bias is None else y + bias), mean, inverse


@op("RMSNormalization", since=23)
def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """Divide by the root of the mean square over the axes from `axis` on, in the precision `stash_type`."""
    wide = widened(x, stash_type)
    axes = tuple(range(axis % x.dim(), x.dim()))
    inverse = torch.rsqrt(wide.square().mean(axes, keepdim=True) + epsilon)
    return (wide * inverse).to(scale.dtype) * scale


@op("GroupNormalization", since=18)
def group_normalization_18(x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5) -> Tensor:
    """Normalise groups of channels; scale and bias are per group (until opset 20)."""
    repeats = x.shape[1] // num_groups
    return group_normalization_21(
        x,
        scale.repeat_interleave(repeats),
        bias.repeat_interleave(repeats),
        num_groups=num_groups,
        epsilon=epsilon,
    )


@op("GroupNormalization", since=21)
def group_normalization_21(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """Normalise groups of channels in the precision `stash_type`; scale and bias are per channel."""
    wide = widened(x, stash_type)
    grouped = wide.reshape(x.shape[0], num_groups, -1)
    shape = (1, -1, *(1,) * (x.dim() - 2))
    y = _standardised(grouped, (2,), epsilon).reshape(x.shape).to(x.dtype)
    return y * scale.reshape(shape) + bias.reshape(shape)


@op("MeanVarianceNormalization", since=9)
def mean_variance_normalization(x: Tensor, *, axes: tuple[int, ...] = (0, 2, 3)) -> Tensor:
    """Subtract the mean and divide by the deviation over some axes."""
    mean = x.mean(axes, keepdim=True)
    variance = (x * x).mean(axes, keepdim=True) - mean * mean
    constant = variance == 0  # the root's gradient there is NaN
    deviation = torch.sqrt(variance.masked_fill(constant, 1.0)).masked_fill(constant, 0.0)
    return (x - mean) / (deviation + 1e-9)


@op("LpNormalization")
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """Divide by the p-norm along an axis; zero vectors stay zero."""
    norm = torch.linalg.vector_norm(x, p, dim=axis, keepdim=True)
    return x / torch.where(norm == 0, 1.0, norm).to(x.dtype)


@op("LRN")
def local_response_normalization(
    x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Tensor:
    """Divide by a power of the mean square over `size` neighbouring channels."""
    before = (size - 1) // 2
    squares = F.pad(x.square().movedim(1, -1), (before, size - 1 - before))
    total = squares.unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return x / (bias + alpha / size * total) ** beta


def _standardised(x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    mean = x.mean(axes, keepdim=True)
    return (x - mean) * torch.rsqrt((x - mean).square().mean(axes, keepdim=True) + epsilon)
