"""Resize and Upsample: each axis is a weighted sum of taps, whatever the mode and the coordinates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """How an output position becomes a weighted sum of input positions: Resize's attributes."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    extrapolation: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """One axis to resize; `window` is its region of interest, as fractions of the axis."""

    number: int
    size: int
    target: int
    scale: float
    window: tuple[float, float] = (0.0, 1.0)


@op("Upsample", since=7)
def upsample_7(x: Tensor, *, scales: tuple[float, ...], mode: str = "nearest") -> Tensor:
    """Enlarge by factors (as attribute, opset 7 and 8)."""
    return _by_scales(x, scales, _legacy(mode))


@op("Upsample", since=9, host=(1,))
@op("Resize", since=10, host=(1,))
def resize_10(x: Tensor, scales: Tensor, *, mode: str = "nearest") -> Tensor:
    """Enlarge or shrink by factors, with asymmetric coordinates."""
    return _by_scales(x, scales.tolist(), _legacy(mode))


@op("Resize", since=11, host=(1, 2, 3), fixed={"antialias": 0})
def resize_11(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    axes: tuple[int, ...] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    """Resize to `sizes` or by `scales`, of all axes or of `axes` (opset 18)."""
    rule = _Rule(
        mode=mode,
        coordinates=coordinate_transformation_mode,
        nearest=nearest_mode,
        cubic_a=cubic_coeff_a,
        exclude_outside=bool(exclude_outside),
        extrapolation=extrapolation_value,
    )
    numbers = [axis % x.dim() for axis in axes] if axes is not None else list(range(x.dim()))
    lengths = [x.shape[number] for number in numbers]
    if sizes is not None and sizes.numel():
        targets, factors = _by_sizes(lengths, sizes.tolist(), keep_aspect_ratio_policy)
    elif scales is not None and scales.numel():
        factors = scales.tolist()
        targets = [math.floor(length * factor) for length, factor in zip(lengths, factors, strict=True)]
    else:
        raise ValueError("neither scales nor sizes are given")
    windows = _windows(roi, len(numbers), rule)
    rows = zip(numbers, lengths, targets, factors, windows, strict=True)
    return _resized(x, [_Axis(number=n, size=s, target=t, scale=f, window=w) for n, s, t, f, w in rows], rule)


def _legacy(mode: str) -> _Rule:
    return _Rule(mode="linear" if mode == "bilinear" else mode, coordinates="asymmetric", nearest="legacy")


def _by_scales(x: Tensor, scales: Sequence[float], rule: _Rule) -> Tensor:
    axes = [
        _Axis(number=number, size=size, target=math.floor(size * scale), scale=scale)
        for number, (size, scale) in enumerate(zip(x.shape, scales, strict=True))
    ]
    return _resized(x, axes, rule)


def _by_sizes(lengths: list[int], sizes: list[int], policy: str) -> tuple[list[int], list[float]]:
    """Return target sizes and factors; a policy other than `stretch` keeps the proportions."""
    factors = [size / length for size, length in zip(sizes, lengths, strict=True)]
    if policy == "stretch":
        return sizes, factors
    factor = min(factors) if policy == "not_larger" else max(factors)
    return [math.floor(length * factor + 0.5) for length in lengths], [factor] * len(lengths)


def _windows(roi: Tensor | None, count: int, rule: _Rule) -> list[tuple[float, float]]:
    if rule.coordinates != "tf_crop_and_resize" or roi is None or roi.numel() == 0:
        return [(0.0, 1.0)] * count
    bounds = roi.tolist()
    return list(zip(bounds[:count], bounds[count:], strict=True))


def _resized(x: Tensor, axes: Sequence[_Axis], rule: _Rule) -> Tensor:
    for axis in axes:
        crops = rule.coordinates == "tf_crop_and_resize" and axis.window != (0.0, 1.0)
        if axis.target == axis.size and axis.scale == 1 and not crops:
            continue
        x = _resized_axis(x, axis, rule)
    return x


def _resized_axis(x: Tensor, axis: _Axis, rule: _Rule) -> Tensor:
    places = _coordinates(axis, rule)
    if rule.mode == "nearest":
        taps = _nearest(places, axis, rule).clamp(0, axis.size - 1).to(x.device)
        y = x.index_select(axis.number, taps)
    else:
        taps, weights = _taps(places, axis, rule)
        shape = [-1 if n == axis.number else 1 for n in range(x.dim())]
        columns = zip(taps.to(x.device).unbind(1), weights.to(x.device, _accumulator(x)).unbind(1), strict=True)
        parts = [x.index_select(axis.number, tap) * weight.reshape(shape) for tap, weight in columns]
        y = torch.stack(parts).sum(0).to(x.dtype) if len(parts) > 2 else (parts[0] + parts[1]).to(x.dtype)
    if rule.coordinates == "tf_crop_and_resize":
        outside = ((places < 0) | (places > axis.size - 1)).to(x.device)
        y = torch.where(outside.reshape([-1 if n == axis.number else 1 for n in range(x.dim())]), rule.extrapolation, y)
    return y


def _accumulator(x: Tensor) -> torch.dtype:
    return x.dtype if x.is_floating_point() else torch.float32


def _coordinates(axis: _Axis, rule: _Rule) -> Tensor:
    """Return where each output element lies on the input axis, in float32 as runtimes compute it."""
    x = torch.arange(axis.target, dtype=torch.float32)
    scale = torch.tensor(axis.scale, dtype=torch.float32)
    last, steps = axis.size - 1, axis.target - 1
    match rule.coordinates:
        case "half_pixel":
            places = (x + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            places = (x + 0.5) / scale - 0.5 if steps else torch.zeros(1)
        case "half_pixel_symmetric":
            adjustment = axis.target / (scale * axis.size)
            places = axis.size / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5
        case "align_corners":
            places = x * last / steps if steps else torch.zeros(1)
        case "asymmetric":
            places = x / scale
        case "tf_half_pixel_for_nn":
            places = (x + 0.5) / scale
        case "tf_crop_and_resize":
            start, end = axis.window
            middle = torch.full((1,), 0.5 * (start + end) * last)
            places = start * last + x * (end - start) * last / steps if steps else middle
        case _:
            raise ValueError(f"unknown coordinate_transformation_mode {rule.coordinates!r}")
    return places


def _nearest(places: Tensor, axis: _Axis, rule: _Rule) -> Tensor:
    match rule.nearest:
        case "round_prefer_floor":
            rounded = torch.ceil(places - 0.5)
        case "round_prefer_ceil":
            rounded = torch.floor(places + 0.5)
        case "floor":
            rounded = torch.floor(places)
        case "ceil":
            rounded = torch.ceil(places)
        case _:  # before opset 11, ONNX Runtime rounds up where it shrinks
            rounded = torch.ceil(places) if axis.scale < 1 else torch.floor(places)
    return rounded.to(torch.int64)


def _taps(places: Tensor, axis: _Axis, rule: _Rule) -> tuple[Tensor, Tensor]:
    """Return input positions and their weights, both (target, taps): 2 taps for linear, 4 for cubic."""
    if rule.mode == "linear":
        places = places.clamp(0, axis.size - 1)
    reach = 1 if rule.mode == "linear" else 2
    first = torch.floor(places).to(torch.int64) + 1 - reach
    taps = first.unsqueeze(1) + torch.arange(2 * reach)
    distance = (taps - places.unsqueeze(1)).abs()
    weights = (1 - distance).clamp(min=0) if rule.mode == "linear" else _cubic(distance, rule.cubic_a)
    if rule.exclude_outside:
        weights = torch.where((taps < 0) | (taps >= axis.size), 0.0, weights)
        weights = weights / weights.sum(dim=1, keepdim=True)
    return taps.clamp(0, axis.size - 1), weights


def _cubic(d: Tensor, a: float) -> Tensor:
    """Return Keys' cubic convolution kernel at distance `d` (IEEE Trans. ASSP 29 (6), 1981, eq. 4)."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))
