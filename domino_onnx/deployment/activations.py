"""Which nodes are an activation, in whatever way an exporter wrote it?

A few nodes that only compute with one tensor and stored scalars are a function of one number. They are told by its
values: all spellings of HardSwish, SiLU and Gelu give the same ones.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domino_onnx.deployment.values import value_of

__all__ = ["Activation", "ActivationName", "activation_behind", "scalar_of"]

ActivationName = Literal["HardSwish", "Swish", "Gelu", "GeluTanh"]
_MOST_NODES = 12
_CLOSE = 2e-6
"""Largest difference from a known function, as a share of 1 + |x|: scalars are stored in float32."""
_Wide = NDArray[np.float64]
_POINTS: _Wide = np.concatenate(
    [np.linspace(-12, 12, 481).round(2), [sign * far for far in (40.0, 300.0, 1e4, 3e38) for sign in (-1, 1)]]
)
"""Up to the largest float32: a Clip far out is another function."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """y = f(x) * `gain` + `shift`; `alpha` is the factor inside Swish's sigmoid."""

    name: ActivationName
    alpha: float = 1.0
    gain: float = 1.0
    shift: float = 0.0

    @property
    def attributes(self) -> dict[str, Any]:
        """Of an operator of the domain `domino_onnx`."""
        return {"activation": self.name, "alpha": self.alpha, "gain": self.gain, "shift": self.shift}


def activation_behind(tensor: Any, outputs: set[int], rank: int) -> tuple[Activation, tuple[Any, ...]] | None:
    """The activation that all readers of a tensor are part of, and its nodes, the last one giving its values.

    Parameters
    ----------
    outputs
        Ids of the tensors that must stay (`must_stay`).
    rank
        Of the tensor: a stored number of more axes would add some.
    """
    values: dict[int, _Wide] = {id(tensor): _POINTS}
    tensors, nodes = [tensor], list[Any]()
    best: tuple[Activation, tuple[Any, ...]] | None = None
    while len(nodes) < _MOST_NODES:
        found = _next(tensors, nodes, values, rank)
        if found is None:
            break
        node, result = found
        nodes.append(node)
        tensors.append(node.outputs[0])
        values[id(node.outputs[0])] = result
        if _is_closed(tensors, nodes, outputs):
            activation = _told(result)
            if activation is not None:  # a factor and a summand behind it may join in
                best = activation, tuple(nodes)
            elif best is not None:
                break
    return best


def _next(
    tensors: Sequence[Any], nodes: Sequence[Any], values: Mapping[int, _Wide], rank: int
) -> tuple[Any, _Wide] | None:
    """Another node that can be computed from what is known, and its values."""
    known = {id(node) for node in nodes}
    for tensor in tensors:
        for node in tensor.outputs:
            if id(node) in known:
                continue
            result = _computed(node, values, rank)
            if result is not None:
                return node, result
    return None


def _is_closed(tensors: Sequence[Any], nodes: Sequence[Any], outputs: set[int]) -> bool:
    """Whether nothing but the last tensor is read elsewhere."""
    inside = {id(node) for node in nodes}
    return all(
        id(tensor) not in outputs and all(id(reader) in inside for reader in tensor.outputs) for tensor in tensors[:-1]
    )


def _computed(node: Any, values: Mapping[int, _Wide], rank: int) -> _Wide | None:
    function = _FUNCTIONS.get(node.op)
    if node.domain or function is None or len(node.outputs) != 1:
        return None
    inputs = []
    for each in node.inputs:
        value: Any = values.get(id(each))
        if value is None:
            value = _ABSENT if each.is_empty() else scalar_of(each, rank)
        if value is None:
            return None
        inputs.append(value)
    with np.errstate(all="ignore"):
        try:
            result = function(*inputs, **node.attrs)
        except TypeError:  # inputs or attributes of another version of the operator
            return None
    return np.broadcast_to(np.asarray(result, np.float64), _POINTS.shape)


def scalar_of(tensor: Any, rank: int) -> float | None:
    """The value of a stored tensor of one number and at most so many axes; None for others."""
    stored = value_of(tensor)
    if stored is None or stored.size != 1 or stored.ndim > rank or stored.dtype.kind not in "fiu":
        return None
    return float(stored.reshape(-1)[0])


def _told(values: _Wide) -> Activation | None:
    """The known function that has these values at `_POINTS`, up to a factor and a summand."""
    if not np.isfinite(values).all():
        return None
    for name, alpha in (("HardSwish", 1.0), ("Gelu", 1.0), ("GeluTanh", 1.0), ("Swish", 1.0), ("Swish", 1.702)):
        shape = _KNOWN[name](_POINTS, alpha)
        one = int(np.argmin(np.abs(_POINTS - 3)))
        zero = int(np.argmin(np.abs(_POINTS)))
        gain, shift = (values[one] - values[zero]) / shape[one], values[zero]
        if gain != 0 and np.all(np.abs(shape * gain + shift - values) <= _CLOSE * (1 + np.abs(_POINTS)) * abs(gain)):
            return Activation(name=name, alpha=alpha, gain=_gain(float(gain)), shift=float(shift))  # type: ignore[arg-type]
    return None


def _gain(value: float) -> float:
    """Of a factor of 1 what constants in float32 add isn't meant; any other factor is, however small."""
    return math.copysign(1, value) if abs(abs(value) - 1) < _CLOSE else value


def _erf(x: Any) -> _Wide:
    return np.vectorize(math.erf, otypes=[np.float64])(x)  # type: ignore[no-any-return]


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _gelu(x: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _hard_sigmoid(x: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    return np.clip(alpha * x + beta, 0, 1)


_ABSENT = object()


def _clip(x: Any, low: Any = _ABSENT, high: Any = _ABSENT, **bounds: float) -> Any:
    low = bounds.get("min", -math.inf) if low is _ABSENT else low
    high = bounds.get("max", math.inf) if high is _ABSENT else high
    return np.minimum(np.maximum(x, low), high)


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "Clip": _clip,
    "Div": lambda a, b: a / b,
    "Erf": _erf,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda x: x * _hard_sigmoid(x, 1 / 6),
    "Identity": lambda x: x,
    "Mul": lambda a, b: a * b,
    "Pow": np.power,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": _sigmoid,
    "Sub": lambda a, b: a - b,
    "Swish": lambda x, alpha=1.0: x * _sigmoid(alpha * x),
    "Tanh": np.tanh,
}
_KNOWN: Mapping[str, Callable[[Any, float], Any]] = {
    "HardSwish": lambda x, _: x * _hard_sigmoid(x, 1 / 6),
    "Swish": lambda x, alpha: x * _sigmoid(alpha * x),
    "Gelu": lambda x, _: _gelu(x),
    "GeluTanh": lambda x, _: _gelu(x, "tanh"),
}
