"""Activation functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from domino_onnx.bridge.blind import with_blind_rows
from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()
_LEGACY = ("consumed_inputs",)


@op("Relu", ignored=_LEGACY)
def relu(x: Tensor) -> Tensor:
    """Return max(x, 0)."""
    return torch.relu(x)


@op("Sigmoid", ignored=_LEGACY)
def sigmoid(x: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


@op("Tanh", ignored=_LEGACY)
def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return torch.tanh(x)


@op("LeakyRelu", ignored=_LEGACY)
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """Return x where positive, alpha x elsewhere."""
    return F.leaky_relu(x, alpha)


@op("PRelu", since=7)
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Return x where positive, slope x elsewhere; the slope broadcasts to x."""
    return torch.where(x < 0, x * slope, x)


@op("Elu", ignored=_LEGACY)
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Return x where positive, alpha (exp(x) - 1) elsewhere."""
    return F.elu(x, alpha)


@op("Celu", since=12)
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Return x where positive, alpha (exp(x / alpha) - 1) elsewhere."""
    return F.celu(x, alpha)


@op("Selu", ignored=_LEGACY)
def selu(x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    """Return gamma Elu(x)."""
    return gamma * F.elu(x, alpha)


@op("HardSigmoid", ignored=_LEGACY)
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """Return alpha x + beta, limited to 0 and 1."""
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


@op("HardSwish", since=14)
def hard_swish(x: Tensor) -> Tensor:
    """Return x HardSigmoid(x) with alpha = 1/6."""
    return F.hardswish(x)


@op("Swish", since=24)
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Return x Sigmoid(alpha x)."""
    return x * torch.sigmoid(alpha * x)


@op("Mish", since=18)
def mish(x: Tensor) -> Tensor:
    """Return x tanh(Softplus(x))."""
    return F.mish(x)


@op("Gelu", since=20)
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """Gaussian error linear unit, exact or by tanh."""
    return F.gelu(x, approximate=approximate)


@op("Softplus")
def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return F.softplus(x)


@op("Softsign")
def softsign(x: Tensor) -> Tensor:
    """Return x / (1 + |x|)."""
    return F.softsign(x)


@op("ThresholdedRelu", since=10)
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Return x where greater than alpha, 0 elsewhere."""
    return torch.where(x > alpha, x, 0.0)


@op("Shrink", since=9)
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """Move x towards zero by `bias` where it is beyond `lambd`, 0 elsewhere."""
    moved = torch.where(x > lambd, x - bias, torch.where(x < -lambd, x + bias, 0.0))
    return moved.to(x.dtype)


@op("Softmax", since=13)
def softmax_13(x: Tensor, *, axis: int = -1) -> Tensor:
    """Normalise exp(x) along one axis."""
    return with_blind_rows(torch.softmax, x, axis)


@op("LogSoftmax", since=13)
def log_softmax_13(x: Tensor, *, axis: int = -1) -> Tensor:
    """Return the logarithm of Softmax along one axis."""
    return with_blind_rows(torch.log_softmax, x, axis)


@op("Hardmax", since=13)
def hardmax_13(x: Tensor, *, axis: int = -1) -> Tensor:
    """Return 1 at the first maximum along an axis, 0 elsewhere."""
    first = torch.argmax(x, dim=axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, first, 1.0)


@op("Softmax")
def softmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    """Normalise over all axes from `axis` on (until opset 12)."""
    return softmax_13(_flat_from(x, axis)).reshape(x.shape)


@op("LogSoftmax")
def log_softmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    """Return the logarithm of Softmax over all axes from `axis` on (until opset 12)."""
    return log_softmax_13(_flat_from(x, axis)).reshape(x.shape)


@op("Hardmax")
def hardmax_1(x: Tensor, *, axis: int = 1) -> Tensor:
    """Return 1 at the first maximum over all axes from `axis` on (until opset 12)."""
    return hardmax_13(_flat_from(x, axis)).reshape(x.shape)


def _flat_from(x: Tensor, axis: int) -> Tensor:
    axis = axis + x.dim() if axis < 0 else axis
    return x.reshape(*x.shape[:axis], -1) if x.numel() else x.flatten(axis)
