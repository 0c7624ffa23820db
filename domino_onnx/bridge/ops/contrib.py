"""Operators of ONNX Runtime's own domain that its optimizer and exporters put in place of standard ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from domino_onnx.bridge.ops.convolution import convolve
from domino_onnx.bridge.ops.matmul import gemm
from domino_onnx.bridge.ops.normalization import layer_normalization, widened
from domino_onnx.bridge.registry import Family

__all__ = ["op", "standard"]

op = Family("com.microsoft")
#: Operators that ONNX Runtime puts into the standard domain although the standard doesn't have them.
standard = Family()

_ACTIVATIONS: Mapping[str, Callable[..., Tensor]] = {
    "Clip": torch.clamp,
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: torch.clamp(alpha * x + beta, 0.0, 1.0),
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
}


@op("Gelu")
def gelu(x: Tensor) -> Tensor:
    """Gaussian error linear unit, exact."""
    return F.gelu(x)


@op("BiasGelu")
def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Exact Gelu of a sum."""
    return F.gelu(x + bias)


@op("FastGelu")
def fast_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Gelu by tanh, of a sum if there is a bias."""
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@op("QuickGelu")
def quick_gelu(x: Tensor, *, alpha: float = 1.702) -> Tensor:
    """Return x Sigmoid(alpha x)."""
    return x * torch.sigmoid(alpha * x)


@op("FusedConv", ignored=("kernel_shape",))
def fused_conv(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    z: Tensor | None = None,
    *,
    activation: str = "",
    activation_params: tuple[float, ...] = (),
    auto_pad: str = "NOTSET",
    dilations: tuple[int, ...] | None = None,
    group: int = 1,
    pads: tuple[int, ...] | None = None,
    strides: tuple[int, ...] | None = None,
) -> Tensor:
    """Convolve, add `z`, activate."""
    y = convolve(
        x,
        w,
        bias,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    y = y if z is None else y + z
    return _ACTIVATIONS[activation](y, *activation_params) if activation else y


@op("FusedGemm")
def fused_gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    activation: str = "",
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Gemm, then activate."""
    y = gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return _ACTIVATIONS[activation](y) if activation else y


@op("FusedMatMul", fixed={"transBatchA": 0, "transBatchB": 0})
def fused_matmul(
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Return alpha A B, the last two axes of either factor swapped."""
    left = a.transpose(-1, -2) if transA else a
    right = b.transpose(-1, -2) if transB else b
    return alpha * torch.matmul(left, right)


@op("SkipLayerNormalization", outputs=4)
def skip_layer_normalization(
    x: Tensor,
    skip: Tensor,
    gamma: Tensor,
    beta: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """LayerNormalization of a sum over the last axis; also returns mean, 1 / deviation and the sum."""
    total = x + skip if bias is None else x + skip + bias
    y, mean, inverse = layer_normalization(total, gamma, beta, epsilon=epsilon)
    return y, mean, inverse, total


@op("SkipSimplifiedLayerNormalization", outputs=4)
def skip_simplified_layer_normalization(
    x: Tensor, skip: Tensor, gamma: Tensor, bias: Tensor | None = None, *, epsilon: float = 1e-12
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """RMSNormalization of a sum over the last axis; also returns mean, 1 / deviation and the sum."""
    total = x + skip if bias is None else x + skip + bias
    y, inverse = simplified_layer_normalization(total, gamma, epsilon=epsilon)
    return y, torch.zeros_like(inverse), inverse, total


@standard("SimplifiedLayerNormalization", outputs=2, ignored=("stash_type",))
def simplified_layer_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """RMSNormalization over the axes from `axis` on; also returns 1 / root mean square."""
    wide, axes = widened(x), tuple(range(axis % x.dim(), x.dim()))
    inverse = torch.rsqrt(wide.square().mean(axes, keepdim=True) + epsilon)
    return (wide * inverse).to(x.dtype) * scale, inverse
