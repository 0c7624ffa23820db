"""Channels of an output: which axis they lie along, and how much each varies. Errors of values are measured by that.

A detector has rows of boxes in pixels above rows of class scores. Each row varies in its own unit, so that each is
measured by its own spread. Nothing says which axis the channels lie along, so that the data decide it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ChannelErrors", "ChannelMoments", "channel_axis", "rows_along", "scales", "scales_of"]

_Vector = NDArray[np.float64]

_QUIET = 1e-6
"""Share of the median variance below which a channel counts as noise."""
_QUIET_SHARE = 1e-7
"""The same for channels between 0 and 1, as a variance: a deviation of 0.0003. A rare class has more."""
_ROUNDING = 1e-12
_TINY = 1e-12


def rows_along(output: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """(positions, channels) of an output whose channels lie along `axis`; (values, 1) where it has none."""
    if axis is None:
        return output.reshape(-1, 1)
    return np.moveaxis(output, axis, -1).reshape(-1, output.shape[axis])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelMoments:
    """Moments of each channel over some batches; what isn't finite is left out.

    Attributes
    ----------
    counts, means, squares
        (channels,) float64; `squares` are sums of squared deviations from the mean.
    lows, highs
        (channels,) float64 smallest and largest values; inf and -inf where there are none.
    """

    counts: _Vector
    means: _Vector
    squares: _Vector
    lows: _Vector
    highs: _Vector

    @classmethod
    def of(cls, rows: NDArray[Any]) -> ChannelMoments:
        """Of (positions, channels) numbers."""
        values = rows.astype(np.float64)
        finite = np.isfinite(values)
        counts = finite.sum(axis=0).astype(np.float64)
        means = np.sum(values, axis=0, where=finite) / np.maximum(counts, 1)
        return cls(
            counts=counts,
            means=means,
            squares=np.sum((values - means) ** 2, axis=0, where=finite),
            lows=np.min(values, axis=0, where=finite, initial=np.inf),
            highs=np.max(values, axis=0, where=finite, initial=-np.inf),
        )

    def __add__(self, other: ChannelMoments) -> ChannelMoments:
        """Of both together (Chan, Golub and LeVeque, 1983)."""
        counts = self.counts + other.counts
        apart, share = other.means - self.means, other.counts / np.maximum(counts, 1)
        return ChannelMoments(
            counts=counts,
            means=self.means + apart * share,
            squares=self.squares + other.squares + apart**2 * self.counts * share,
            lows=np.minimum(self.lows, other.lows),
            highs=np.maximum(self.highs, other.highs),
        )

    @property
    def variances(self) -> _Vector:
        """(channels,) float64."""
        return self.squares / np.maximum(self.counts, 1)


def channel_axis(candidates: Mapping[int | None, ChannelMoments]) -> int | None:
    """The axis along which channels differ most: the one that describes the values in the fewest bits.

    Each channel is described as normal numbers with its own mean and variance, which cost bits as well (Schwarz, 1978).
    None says that all values are alike.
    """
    return min(candidates, key=lambda axis: _code_length(candidates[axis]))


def scales(moments: ChannelMoments) -> _Vector:
    """(channels,) what squared errors are divided by: the variance, and no less than tells a channel from noise.

    Channels between 0 and 1 are judged apart from others: they are shares, and their unit is known. A channel that
    never changes counts like a typical one.
    """
    found = moments.variances
    varies = found > _ROUNDING * np.maximum(moments.lows**2, moments.highs**2, where=moments.counts > 0, out=found * 0)
    if not varies.any():
        return np.maximum(found, 1.0)
    shares = (moments.lows >= 0) & (moments.highs <= 1) & varies
    floors = np.full(found.shape, float(np.median(found[varies])))
    for group, least in ((shares, _QUIET_SHARE), (varies & ~shares, 0.0)):
        if group.any():
            floors[group] = max(_QUIET * float(np.median(found[group])), least)
    bounded: _Vector = np.maximum(found, floors) + _TINY
    return bounded


class ChannelErrors:
    """Squared errors of each channel, added up batch by batch. Only finite values of the reference count.

    Parameters
    ----------
    axis
        Along which the channels lie; None if all values are one channel.
    scales
        (channels,) what squared errors are divided by.
    """

    def __init__(self, axis: int | None, scales: _Vector) -> None:
        self._axis = axis
        self._scales = scales
        self._squares: _Vector = np.zeros(len(scales))
        self._counts: _Vector = np.zeros(len(scales))

    def add(self, expected: NDArray[Any], got: NDArray[Any]) -> None:
        """One more batch; both have the same shape. Of another width than the scales have, it is one channel."""
        wanted = rows_along(expected, self._axis).astype(np.float64)
        difference = wanted - rows_along(got, self._axis)
        finite = np.isfinite(wanted)
        axis = 0 if wanted.shape[1] == len(self._scales) else None
        squares, counts = np.sum(difference**2, axis=axis, where=finite), finite.sum(axis=axis)
        self._squares += squares / scales_of(self._scales, wanted.shape[1])
        self._counts += counts

    def relative(self) -> _Vector:
        """(channels,) mean squared error of each, over its scale; channels without any finite value have none."""
        found: _Vector = self._squares / np.maximum(self._counts, 1)
        return found


def scales_of(known: _Vector, width: int) -> _Vector:
    """(width,) the scales that are known; (1,) their mean where an output has another width than they do."""
    return known if len(known) == width else known.mean(keepdims=True)


def _code_length(moments: ChannelMoments) -> float:
    """Nats a value, up to a constant."""
    total = float(moments.counts.sum())
    if not total:
        return np.inf
    overall = float(moments.squares.sum() + np.sum(moments.counts * (moments.means - _mean(moments)) ** 2)) / total
    variances = moments.variances + _ROUNDING * overall + _TINY
    parameters = np.log(np.maximum(moments.counts, 2)).sum()
    return float(np.sum(moments.counts * np.log(variances)) / 2 + parameters) / total


def _mean(moments: ChannelMoments) -> float:
    return float(np.sum(moments.counts * moments.means) / moments.counts.sum())
