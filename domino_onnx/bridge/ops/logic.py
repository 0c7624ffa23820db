"""Comparisons and boolean operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from domino_onnx.bridge.ops.unsigned import through_int64
from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()

_BINARY: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "And": torch.logical_and,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
}


def _register(name: str, function: Callable[..., Tensor]) -> None:
    @op(name, since=7)
    def compare(a: Tensor, b: Tensor) -> Tensor:
        return function(a, b)


for _name, _function in _BINARY.items():
    _register(_name, through_int64(_function))


@op("Not")
def logical_not(x: Tensor) -> Tensor:
    """Negate booleans."""
    return torch.logical_not(x)


@op("Where", since=9)
def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Choose by condition; the three broadcast."""
    return torch.where(condition, x, y)


@op("IsNaN", since=9)
def is_nan(x: Tensor) -> Tensor:
    """Tell which elements are not a number."""
    return torch.isnan(x)


@op("IsInf", since=10)
def is_inf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Tell which elements are infinite, of either sign or of one."""
    negative = torch.isneginf(x) if detect_negative else torch.zeros_like(x, dtype=torch.bool)
    return negative | torch.isposinf(x) if detect_positive else negative
