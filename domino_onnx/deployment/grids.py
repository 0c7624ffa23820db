"""On which grid of bytes does each activation lie? Ranges are seen in runs; a share of the extremes may be cut off."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEPT_SHARES", "SIGNED", "FileValue", "Grid", "Ranges", "seen_ranges"]

KEPT_SHARES = (1.0, 0.9999, 0.999)
"""How many of a sample's values a grid may hold: all, or all but the largest few, which then are clipped."""
SIGNED = 128
"""By how much less a signed byte is than the unsigned one of the same value, and so are their zero points."""
_MOST_VALUES = 1 << 16
_SMALLEST = 1e-12
_Arrays = Mapping[str, NDArray[Any]]
Ranges = Mapping[str, Sequence[tuple[float, float]]]
"""Of each activation, least and largest value for each of `KEPT_SHARES`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """A value is about (byte - `zero_point`) * `scale`."""

    scale: float
    zero_point: int

    @classmethod
    def of(cls, low: float, high: float) -> Grid:
        """The grid that holds a range, and zero exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / 255, _SMALLEST)
        return cls(float(np.float32(scale)), int(np.clip(np.rint(-low / scale), 0, 255)))

    def byte(self, value: float) -> float:
        """The byte of a value, clipped."""
        return float(np.clip(np.rint(value / self.scale) + self.zero_point, 0, 255))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FileValue:
    """An activation that the file itself holds in 8 bits.

    Attributes
    ----------
    integers
        Name of the bytes.
    source
        Name of the floats that they are made of, where nothing else reads these.
    grid
        Of unsigned bytes, whether the file has signed ones or not (`SIGNED`).
    """

    integers: str
    source: str | None
    grid: Grid
    is_signed: bool


def seen_ranges(run: Callable[[_Arrays], _Arrays], samples: Iterable[_Arrays], names: Sequence[str]) -> Ranges:
    """Ranges of activations over samples.

    The extremes of all samples together, where all values are kept; else the mean of each sample's quantiles.

    Parameters
    ----------
    run
        Gives the activations `names` of one sample.
    """
    seen: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for sample in samples:
        outputs = {**sample, **run(sample)}
        for name in names:
            seen[name].append(_quantiles(outputs[name]))
    return {
        name: [_joined(np.array(each)[:, place], share) for place, share in enumerate(KEPT_SHARES)]
        for name, each in seen.items()
    }


def _quantiles(values: NDArray[Any]) -> NDArray[np.float64]:
    """(shares, 2) of the finite values, 0 without any; quantiles come from evenly spaced ones where there are many."""
    flat = values[np.isfinite(values)]
    if not flat.size:
        return np.zeros((len(KEPT_SHARES), 2))
    thinned = flat[:: max(1, flat.size // _MOST_VALUES)]
    ends = [(flat.min(), flat.max())]
    ends += [tuple(np.quantile(thinned, [(1 - share) / 2, (1 + share) / 2])) for share in KEPT_SHARES[1:]]
    return np.array(ends, np.float64)


def _joined(ends: NDArray[np.float64], share: float) -> tuple[float, float]:
    if share == 1.0:
        return float(ends[:, 0].min()), float(ends[:, 1].max())
    return float(ends[:, 0].mean()), float(ends[:, 1].mean())
