"""Arithmetic, element by element, with numpy's broadcasting."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from domino_onnx.bridge.ops.unsigned import through_int64
from domino_onnx.bridge.registry import Family
from domino_onnx.bridge.values import element_type

__all__ = ["op"]

op = Family()

_UNARY: Mapping[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Log": torch.log,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Round": torch.round,  # half to even, as ONNX wants
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "BitwiseNot": torch.bitwise_not,
}
_BINARY: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Mul": torch.mul,
    "Sub": torch.sub,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
}


def _register_unary(name: str, function: Callable[..., Tensor]) -> None:
    @op(name, ignored=("consumed_inputs",))
    def unary(x: Tensor) -> Tensor:
        return function(x)


def _register_binary(name: str, function: Callable[..., Tensor]) -> None:
    @op(name, since=7)
    def binary(a: Tensor, b: Tensor) -> Tensor:
        return function(a, b)


for _name, _unary in _UNARY.items():
    _register_unary(_name, through_int64(_unary))
for _name, _binary in _BINARY.items():
    _register_binary(_name, through_int64(_binary))


@op("Div", since=7)
def div(a: Tensor, b: Tensor) -> Tensor:
    """Divide; integers are truncated towards zero."""
    if a.is_floating_point():
        return torch.div(a, b)
    return through_int64(functools.partial(torch.div, rounding_mode="trunc"))(a, b)


@op("Mod", since=10)
def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """Return the remainder with the sign of the divisor, or with `fmod` of the dividend (as C does)."""
    return through_int64(torch.fmod if fmod else torch.remainder)(a, b)


@op("Pow", since=7)
def power(base: Tensor, exponent: Tensor) -> Tensor:
    """Raise to a power whose type may be another; the result has the base's type."""
    return torch.pow(base, exponent).to(base.dtype)


@op("BitShift", since=11)
def bit_shift(x: Tensor, count: Tensor, *, direction: str) -> Tensor:
    """Shift unsigned integers; computed in int64, for torch has no shifts of most unsigned types."""
    wide, by = x.to(torch.int64), count.to(torch.int64)
    return (wide << by if direction == "LEFT" else wide >> by).to(x.dtype)


@op("Max", since=6)
def maximum(*operands: Tensor) -> Tensor:
    """Return the elementwise maximum of any number of tensors."""
    return functools.reduce(through_int64(torch.maximum), operands)


@op("Min", since=6)
def minimum(*operands: Tensor) -> Tensor:
    """Return the elementwise minimum of any number of tensors."""
    return functools.reduce(through_int64(torch.minimum), operands)


@op("Sum", since=6)
def add_all(*operands: Tensor) -> Tensor:
    """Return the sum of any number of tensors."""
    return functools.reduce(torch.add, operands)


@op("Mean", since=6)
def mean_all(*operands: Tensor) -> Tensor:
    """Return the mean of any number of tensors."""
    return add_all(*operands) / len(operands)


@op("Clip", since=1, ignored=("consumed_inputs",))
def clip_1(x: Tensor, *, min: float | None = None, max: float | None = None) -> Tensor:
    """Limit to attributes (until opset 10)."""
    return x if min is None and max is None else torch.clamp(x, min, max)


@op("Clip", since=11)
def clip_11(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Limit to inputs, either of which may be missing."""
    bounds = (low, high)
    if all(bound is None or (bound.device.type == "cpu" and not bound.requires_grad) for bound in bounds):
        # Reading a number costs nothing here, and torch limits to numbers twice as fast as to tensors.
        return clip_1(x, min=_number(low), max=_number(high))
    return torch.clamp(x, low, high)


def _number(bound: Tensor | None) -> float | None:
    return None if bound is None else bound.item()


@op("Cast", since=6, fixed={"saturate": 1}, ignored=("round_mode",))
def cast(x: Tensor, *, to: int) -> Tensor:
    """Convert to an element type."""
    return _converted(x, element_type(to))


@op("CastLike", since=15, fixed={"saturate": 1}, ignored=("round_mode",))
def cast_like(x: Tensor, target: Tensor) -> Tensor:
    """Convert to another tensor's element type."""
    return _converted(x, target.dtype)


def _converted(x: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype.is_floating_point and dtype.itemsize == 1:  # what is too great for 8 bits stays at their limit
        limits = torch.finfo(dtype)
        x = torch.clamp(x.to(torch.float32), limits.min, limits.max)
    return x.to(dtype)


@op("Dropout", since=1, outputs=2, ignored=("consumed_inputs", "is_test", "ratio", "seed"))
def dropout(x: Tensor, ratio: Tensor | None = None, training_mode: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the input and a mask of ones: this is inference."""
    del ratio, training_mode
    return x, torch.ones_like(x, dtype=torch.bool)


@op("Identity", since=1)
def identity(x: Tensor) -> Tensor:
    """Return the input."""
    return x


@op("CumSum", since=11, host=(1,))
def cumulative_sum(x: Tensor, axis: Tensor, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """Sum up along one axis, without the element itself if `exclusive`, from the end if `reverse`."""
    dim = int(axis)
    x = x.flip(dim) if reverse else x
    total = torch.cumsum(x, dim, dtype=x.dtype)
    total = total - x if exclusive else total
    return total.flip(dim) if reverse else total
